// Conversions between Python objects and tensors.
#include <cstring>
#include <memory>

#include "bindings/py.h"
#include "core/readonly.h"

namespace annx::python {

PyObject* set_error() {
  try {
    throw;
  } catch (const Error& e) {
    PyObject* type = PyExc_RuntimeError;
    switch (e.kind()) {
      case ErrorKind::value:
        type = PyExc_ValueError;
        break;
      case ErrorKind::type:
        type = PyExc_TypeError;
        break;
      case ErrorKind::index:
        type = PyExc_IndexError;
        break;
      case ErrorKind::memory:
        type = PyExc_MemoryError;
        break;
      case ErrorKind::key:
        type = PyExc_KeyError;
        break;
      case ErrorKind::runtime:
        break;
    }
    PyErr_SetString(type, e.what());
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const std::bad_alloc&) {
    PyErr_SetString(PyExc_MemoryError, "[annx] out of memory");
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
  return nullptr;
}

PyObject* wrap_as(PyTypeObject* type, const Tensor& t) {
  PyObject* o = type->tp_alloc(type, 0);
  if (!o) throw py::error_already_set();
  new (&reinterpret_cast<PyTensor*>(o)->tensor) Tensor(t);
  t.impl()->pyobject = o;
  return o;
}

PyObject* wrap(const Tensor& t) {
  if (!t.defined()) Py_RETURN_NONE;
  if (t.impl()->pyobject) {
    PyObject* o = static_cast<PyObject*>(t.impl()->pyobject);
    Py_INCREF(o);
    return o;
  }
  return wrap_as(tensor_type, t);
}

PyObject* wrap_tuple(const TensorList& list) {
  PyObject* out = PyTuple_New(list.size());
  if (!out) throw py::error_already_set();
  for (int i = 0; i < list.size(); ++i) PyTuple_SET_ITEM(out, i, wrap(list[i]));
  return out;
}

bool is_number(PyObject* o) {
  return PyFloat_Check(o) || PyLong_Check(o) ||
         (!is_tensor(o) && PyIndex_Check(o) && !PyObject_CheckBuffer(o));
}

Tensor number_tensor(PyObject* o) {
  Tensor t;
  if (PyBool_Check(o)) {
    t = Tensor::scalar(int64_t{o == Py_True}, DType::b8);
  } else if (PyFloat_Check(o)) {
    t = Tensor::scalar(PyFloat_AS_DOUBLE(o), DType::f64);
  } else {
    PyObject* index = PyNumber_Index(o);
    if (!index) throw py::error_already_set();
    const py::object holder = py::reinterpret_steal<py::object>(index);
    int overflow = 0;
    const int64_t v = PyLong_AsLongLongAndOverflow(index, &overflow);
    ANNX_CHECK(overflow == 0, value, "tensor", "expected a number that int64 holds but got ",
               py::str(holder).cast<std::string>());
    if (v == -1 && PyErr_Occurred()) throw py::error_already_set();
    t = Tensor::scalar(v, DType::i64);
  }
  t.impl()->wrapped_number = true;
  return t;
}

Tensor number_tensor_like(PyObject* o, DType partner) {
  if (partner == DType::f32 || partner == DType::f64) {
    double v;
    if (PyFloat_Check(o)) {
      v = PyFloat_AS_DOUBLE(o);
    } else if (PyLong_CheckExact(o)) {
      v = PyLong_AsDouble(o);
      if (v == -1.0 && PyErr_Occurred()) throw py::error_already_set();
    } else {
      return number_tensor(o);
    }
    Tensor t = Tensor::empty({}, partner);
    if (partner == DType::f32)
      *t.data<float>() = static_cast<float>(v);
    else
      *t.data<double>() = v;
    t.impl()->wrapped_number = true;
    return t;
  }
  return number_tensor(o);
}

namespace {

bool buffer_dtype(const Py_buffer& view, DType* out) {
  const char* f = view.format ? view.format : "B";
  if (*f == '<' || *f == '=' || *f == '@') ++f;
  if (f[0] == 0 || f[1] != 0) return false;
  switch (f[0]) {
    case 'f':
      *out = DType::f32;
      return true;
    case 'd':
      *out = DType::f64;
      return true;
    case 'e':
      *out = DType::f16;
      return true;
    case 'q':
      *out = DType::i64;
      return true;
    case 'l':
      *out = view.itemsize == 8 ? DType::i64 : DType::i32;
      return true;
    case 'i':
      *out = DType::i32;
      return true;
    case 'B':
      *out = DType::u8;
      return true;
    case '?':
      *out = DType::b8;
      return true;
    default:
      return false;
  }
}

}  // namespace

Tensor from_buffer(PyObject* o, bool copy) {
  auto* view = new Py_buffer;
  if (PyObject_GetBuffer(o, view, PyBUF_RECORDS_RO) != 0) {
    delete view;
    throw py::error_already_set();
  }
  const auto readonly = std::make_shared<uint64_t>(0);  // the storage's id
  auto release = [view, readonly] {
    if (*readonly) forget_readonly(*readonly);
    py::gil_scoped_acquire gil;
    PyBuffer_Release(view);
    delete view;
  };
  try {
    DType dtype = DType::f32;
    ANNX_CHECK(buffer_dtype(*view, &dtype), type, "tensor",
               "expected float16/32/64, int32/64, uint8 or bool data but got buffer format '",
               view->format ? view->format : "B", "'");
    ANNX_CHECK(view->ndim <= kMaxDims, value, "tensor", "expected at most ", kMaxDims,
               " dimensions but got ", view->ndim);
    Dims shape, strides;
    bool whole = true;
    for (int i = 0; i < view->ndim; ++i) {
      shape.push_back(view->shape[i]);
      strides.push_back(view->strides[i] / view->itemsize);
      whole = whole && view->strides[i] % view->itemsize == 0;
    }
    ANNX_CHECK(whole, value, "tensor", "expected strides that are whole elements");
    const bool aligned =
        reinterpret_cast<uintptr_t>(view->buf) % static_cast<uintptr_t>(view->itemsize) == 0;
    ANNX_CHECK(aligned, value, "tensor", "expected data aligned to its item size");
    auto storage = Storage::wrap(view->buf, static_cast<size_t>(view->len), {}, release);
    if (view->readonly && !copy) mark_readonly(*readonly = storage->id());
    Tensor shared = Tensor::from_storage(std::move(storage), shape, strides, dtype);
    if (!copy) return shared;
    GradModeGuard no_grad(false);
    return call(def::clone, {shared});
  } catch (const Error&) {
    if (PyErr_Occurred()) PyErr_Clear();
    throw;
  }
}

Tensor to_tensor(PyObject* o, const char* op, const char* argument) {
  if (is_tensor(o)) return tensor_of(o);
  if (is_number(o)) return number_tensor(o);
  const bool textual = PyUnicode_Check(o) || PyBytes_Check(o) || PyDict_Check(o) || o == Py_None;
  if (!textual &&
      (PyObject_CheckBuffer(o) || PySequence_Check(o) || PyObject_HasAttrString(o, "__array__"))) {
    // Kept for the life of the process: released by no destructor that would outlive the runtime.
    static py::handle as_tensor;
    if (!as_tensor)
      as_tensor =
          py::module_::import("annx._creation").attr("as_tensor").cast<py::object>().release();
    py::object t = as_tensor(py::handle(o));
    return tensor_of(t.ptr());
  }
  fail(ErrorKind::type, op, "argument '", argument, "': expected a Tensor but got ",
       Py_TYPE(o)->tp_name);
}

Tensor on_cpu(const Tensor& t) {
  if (t.device().is_cpu()) return t;
  GradModeGuard no_grad(false);
  return ops::to_device(t, {});
}

PyObject* item(const Tensor& t) {
  ANNX_CHECK(t.numel() == 1, value, "item", "expected a tensor of one element but got shape ",
             t.shape());
  check_readable(t, "item");
  const Tensor h = on_cpu(t);
  if (is_floating(t.dtype())) return PyFloat_FromDouble(load_scalar_f64(h.raw(), t.dtype()));
  const int64_t v = load_scalar_i64(h.raw(), t.dtype());
  if (t.dtype() == DType::b8) return PyBool_FromLong(v != 0);
  return PyLong_FromLongLong(v);
}

void run_call(OpCall& c) {
  int64_t elements = 0;
  for (const Tensor& t : c.inputs)
    if (t.defined()) elements += t.numel();
  if (elements < kReleaseGil) return run(c);
  py::gil_scoped_release release;
  run(c);
}

// dtype objects ---------------------------------------------------------------------------------

PyTypeObject* dtype_type = nullptr;

namespace {

PyObject* dtype_objects[kDTypeCount];

DType dtype_of(PyObject* o) { return reinterpret_cast<PyDType*>(o)->dtype; }

PyObject* dtype_repr(PyObject* self) {
  return PyUnicode_FromFormat("annx.%s", name(dtype_of(self)));
}
PyObject* dtype_reduce(PyObject* self, PyObject*) {
  return guarded([&] {
    return py::make_tuple(py::module_::import("annx._core").attr("dtype_from_name"),
                          py::make_tuple(name(dtype_of(self))))
        .release()
        .ptr();
  });
}
PyObject* dtype_name(PyObject* self, void*) { return PyUnicode_FromString(name(dtype_of(self))); }
PyObject* dtype_itemsize(PyObject* self, void*) {
  return PyLong_FromSize_t(itemsize(dtype_of(self)));
}
PyObject* dtype_is_floating(PyObject* self, void*) {
  return PyBool_FromLong(is_floating(dtype_of(self)));
}

}  // namespace

PyObject* dtype_object(DType t) {
  PyObject* o = dtype_objects[static_cast<int>(t)];
  Py_INCREF(o);
  return o;
}

bool parse_dtype(PyObject* o, DType* out) {
  if (Py_TYPE(o) == dtype_type) {
    *out = dtype_of(o);
    return true;
  }
  py::object text;
  if (PyUnicode_Check(o)) {
    text = py::reinterpret_borrow<py::object>(o);
  } else if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) {
    *out = DType::f32;
    return true;
  } else if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) {
    *out = DType::i64;
    return true;
  } else if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) {
    *out = DType::b8;
    return true;
  } else if (PyObject_HasAttrString(o, "name")) {  // numpy.dtype
    text = py::handle(o).attr("name");
  } else if (PyType_Check(o)) {  // numpy.float32
    text = py::handle(o).attr("__name__");
  } else {
    return false;
  }
  if (!PyUnicode_Check(text.ptr())) return false;
  const std::string wanted = text.cast<std::string>();
  for (int i = 0; i < kDTypeCount; ++i) {
    if (wanted == name(static_cast<DType>(i))) {
      *out = static_cast<DType>(i);
      return true;
    }
  }
  return false;
}

void init_dtype_type(py::module_& m) {
  static PyMethodDef methods[] = {{"__reduce__", dtype_reduce, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {
      {"name", dtype_name, nullptr, "Name, such as 'float32'.", nullptr},
      {"itemsize", dtype_itemsize, nullptr, "Bytes of one element.", nullptr},
      {"is_floating_point", dtype_is_floating, nullptr, "Whether it is a float type.", nullptr},
      {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_repr, reinterpret_cast<void*>(dtype_repr)},
                                {Py_tp_methods, methods},
                                {Py_tp_getset, getset},
                                {Py_tp_doc, const_cast<char*>("Element type of a Tensor.")},
                                {0, nullptr}};
  static PyType_Spec spec = {"annx._core.dtype", sizeof(PyDType), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  dtype_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!dtype_type) throw py::error_already_set();
  m.add_object("dtype", reinterpret_cast<PyObject*>(dtype_type));
  for (int i = 0; i < kDTypeCount; ++i) {
    PyObject* o = dtype_type->tp_alloc(dtype_type, 0);
    reinterpret_cast<PyDType*>(o)->dtype = static_cast<DType>(i);
    dtype_objects[i] = o;
    const std::string label = name(static_cast<DType>(i));
    m.add_object(label == "bool" ? "bool_" : label.c_str(), py::reinterpret_borrow<py::object>(o));
  }
  m.def(
      "dtype_from_name",
      [](py::object o) {
        DType t;
        if (!parse_dtype(o.ptr(), &t))
          fail(ErrorKind::type, "dtype", "expected a dtype but got ",
               py::repr(o).cast<std::string>());
        return py::reinterpret_steal<py::object>(dtype_object(t));
      },
      "The annx dtype for a name, a numpy dtype or a Python number type.");
}

}  // namespace annx::python
