// Shared by the binding files: the Python types and the conversions between them and C++.
#pragma once

#include <pybind11/pybind11.h>
#include <structmember.h>

#include <string>

#include "autograd/tape.h"
#include "ops/functional.h"

namespace annx::python {

namespace py = pybind11;

// annx.Tensor is a plain C type: a pybind11 class would cost several hundred nanoseconds a call.
struct PyTensor {
  PyObject_HEAD Tensor tensor;
  PyObject* weakrefs;
};

struct PyDType {
  PyObject_HEAD DType dtype;
};

extern PyTypeObject* tensor_type;
extern PyTypeObject* dtype_type;

inline bool is_tensor(PyObject* o) { return PyObject_TypeCheck(o, tensor_type); }
inline const Tensor& tensor_of(PyObject* o) { return reinterpret_cast<PyTensor*>(o)->tensor; }

// New references.
PyObject* wrap(const Tensor& t);
PyObject* wrap_as(PyTypeObject* type, const Tensor& t);
PyObject* wrap_tuple(const TensorList& list);
PyObject* dtype_object(DType t);

// Sets the Python error for the exception in flight; returns null.
PyObject* set_error();

// dtype from a PyDType or anything with such a name ("float32", numpy.float32).
bool parse_dtype(PyObject* o, DType* out);

// A tensor from a Tensor, a number (marked as wrapped number), or anything numpy understands.
// Throws TypeError naming op and argument.
Tensor to_tensor(PyObject* o, const char* op, const char* argument);
bool is_number(PyObject* o);
Tensor number_tensor(PyObject* o);
// Same, in the dtype of its partner where that changes nothing.
Tensor number_tensor_like(PyObject* o, DType partner);

// From an object with the buffer protocol (a numpy array): shares its memory or copies.
Tensor from_buffer(PyObject* o, bool copy);
// t, or a copy of it in the memory of the CPU, off the tape.
Tensor on_cpu(const Tensor& t);
// Element at the (single) position as a Python number.
PyObject* item(const Tensor& t);

// Tensor type and its parts, each in a file of its own.
void init_tensor_type(py::module_& m);
void init_dtype_type(py::module_& m);
void init_op_functions(py::module_& m);
void init_autograd(py::module_& m);
void init_dlpack(py::module_& m);
void init_runtime(py::module_& m);
void init_optim(py::module_& m);
void init_program(py::module_& m);
// Throws inside a captured call, where the value of t would be baked in.
void check_readable(const Tensor& t, const char* what);
// Tells captures that requires_grad or the hooks of t are about to change.
void note_change(const Tensor& t);
// While a call is captured: what follows depends on whether t, a leaf, requires a gradient.
void note_look(const Tensor& t);
// Tells captured calls that a module or parameter may have been changed.
void bump_structure();
void init_cuda(py::module_& m);
void init_bench(py::module_& m);
PyObject* subscript(PyObject* self, PyObject* key);
PyObject* make_op_function(const OpDef* op);

// Calls fn and turns C++ exceptions into Python errors.
template <class F>
PyObject* guarded(F&& fn) noexcept {
  try {
    return fn();
  } catch (...) {
    return set_error();
  }
}

// Work on this many elements is worth letting other Python threads run.
inline constexpr int64_t kReleaseGil = 1 << 16;

// Runs the call, without the GIL when it is large.
void run_call(OpCall& c);

}  // namespace annx::python
