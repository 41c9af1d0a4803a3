// Shared by what records captured calls and what runs them again.
#pragma once

#include <vector>

#include "bindings/py.h"
#include "program/replay.h"

namespace annx::python {

TensorList tensors_of(const py::handle& sequence);

// Results that required grad do so again, but their graph stayed inside the call.
void track(TensorList& results, const std::vector<char>& tracked);

// A function of annx._core that is called at every step: pybind11 would look at its arguments for longer
// than it takes.
using QuickFunction = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);
void add_quick(py::module_& m, const char* name, QuickFunction function, const char* doc);

// The part of annx._core that records.
void init_capture(py::module_& m);

}  // namespace annx::python
