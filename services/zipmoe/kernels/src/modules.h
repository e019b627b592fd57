#pragma once

#include <nanobind/nanobind.h>

namespace zipmoe {

// What the module offers for packed weights, and for activations.
void define_packed(nanobind::module_& module);
void define_activations(nanobind::module_& module);

}  // namespace zipmoe
