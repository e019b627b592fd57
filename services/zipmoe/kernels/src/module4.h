#pragma once

#include <nanobind/nanobind.h>

namespace zipmoe {

// What the module offers for packed weights.
void define4(nanobind::module_& module);

}  // namespace zipmoe
