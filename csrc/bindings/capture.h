// Shared by what records captured calls and what runs them again.
#pragma once

#include <vector>

#include "bindings/py.h"
#include "program/replay.h"

namespace annx::python {

TensorList tensors_of(const py::handle& sequence);

// Results that required grad do so again, but their graph stayed inside the call.
void track(TensorList& results, const std::vector<char>& tracked);

// The part of annx._core that records.
void init_capture(py::module_& m);

}  // namespace annx::python
