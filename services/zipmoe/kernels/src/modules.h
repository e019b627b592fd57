#pragma once

#include <nanobind/nanobind.h>

namespace zipmoe {

// What the module offers for packed weights, and for activations.
void define4(nanobind::module_& module);
void define_activations(nanobind::module_& module);

}  // namespace zipmoe
