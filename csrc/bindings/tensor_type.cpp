// annx.Tensor: slots, attributes and methods that are not registered ops.

#include "bindings/py.h"
#include "ops/device.h"
#include "program/program.h"

namespace annx::python {

PyTypeObject* tensor_type = nullptr;

namespace {

const Tensor& self_of(PyObject* o) { return tensor_of(o); }

// life --------------------------------------------------------------------------------------------

void tensor_dealloc(PyObject* self) {
  auto* o = reinterpret_cast<PyTensor*>(self);
  if (o->weakrefs) PyObject_ClearWeakRefs(self);
  if (o->tensor.defined() && o->tensor.impl()->pyobject == self)
    o->tensor.impl()->pyobject = nullptr;
  o->tensor.~Tensor();
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject*) {
  return guarded([&]() -> PyObject* {
    PyObject* data = nullptr;
    if (!PyArg_UnpackTuple(args, "Tensor", 1, 1, &data)) return nullptr;
    py::object made = py::module_::import("annx._creation").attr("tensor")(py::handle(data));
    return wrap_as(type, tensor_of(made.ptr()).detach());
  });
}

// numbers -----------------------------------------------------------------------------------------

// Operand of a binary slot: a tensor, a number or an array; null when Python should try the other.
bool operand(PyObject* o, DType partner, Tensor* out) {
  if (is_tensor(o)) {
    *out = tensor_of(o);
  } else if (is_number(o)) {
    *out = number_tensor_like(o, partner);
  } else if (PyObject_CheckBuffer(o) && !PyBytes_Check(o)) {
    *out = to_tensor(o, "tensor", "other");
  } else {
    return false;
  }
  return true;
}

PyObject* binary(const OpDef& op, PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    OpCall c;
    c.op = &op;
    const DType partner = is_tensor(a) ? self_of(a).dtype() : self_of(b).dtype();
    c.inputs.resize(2);
    if (!operand(a, partner, &c.inputs[0]) || !operand(b, partner, &c.inputs[1]))
      Py_RETURN_NOTIMPLEMENTED;
    run_call(c);
    return wrap(c.outputs[0]);
  });
}

PyObject* unary(const OpDef& op, PyObject* a) {
  return guarded([&] {
    OpCall c;
    c.op = &op;
    c.inputs.push_back(self_of(a));
    run_call(c);
    return wrap(c.outputs[0]);
  });
}

#define ANNX_BINARY_SLOT(slot, op) \
  PyObject* slot(PyObject* a, PyObject* b) { return binary(def::op, a, b); }
ANNX_BINARY_SLOT(slot_add, add)
ANNX_BINARY_SLOT(slot_sub, sub)
ANNX_BINARY_SLOT(slot_mul, mul)
ANNX_BINARY_SLOT(slot_div, div)
ANNX_BINARY_SLOT(slot_floordiv, floor_divide)
ANNX_BINARY_SLOT(slot_mod, remainder)
ANNX_BINARY_SLOT(slot_matmul, matmul)
ANNX_BINARY_SLOT(slot_and, logical_and)
ANNX_BINARY_SLOT(slot_or, logical_or)
ANNX_BINARY_SLOT(slot_xor, logical_xor)
PyObject* slot_neg(PyObject* a) { return unary(def::neg, a); }
PyObject* slot_abs(PyObject* a) { return unary(def::abs, a); }

PyObject* slot_invert(PyObject* a) {
  if (self_of(a).dtype() != DType::b8) {
    PyErr_Format(PyExc_TypeError, "[invert] expected a bool tensor but got dtype %s",
                 name(self_of(a).dtype()));
    return nullptr;
  }
  return unary(def::logical_not, a);
}

PyObject* slot_pow(PyObject* a, PyObject* b, PyObject*) {
  // x ** 2 by far the commonest, and exact.
  if (is_tensor(a) && PyLong_CheckExact(b) && PyLong_AsLong(b) == 2) return unary(def::square, a);
  if (PyErr_Occurred()) return nullptr;
  return binary(def::pow, a, b);
}

PyObject* slot_compare(PyObject* a, PyObject* b, int kind) {
  switch (kind) {
    case Py_LT:
      return binary(def::lt, a, b);
    case Py_LE:
      return binary(def::le, a, b);
    case Py_GT:
      return binary(def::gt, a, b);
    case Py_GE:
      return binary(def::ge, a, b);
    case Py_EQ:
      return b == Py_None ? Py_NewRef(Py_False) : binary(def::eq, a, b);
    default:
      return b == Py_None ? Py_NewRef(Py_True) : binary(def::ne, a, b);
  }
}

Py_hash_t slot_hash(PyObject* self) {
  return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(self) >> 4);
}

int slot_bool(PyObject* self) {
  const Tensor& t = self_of(self);
  if (t.numel() != 1) {
    PyErr_Format(PyExc_ValueError,
                 "[bool] expected a tensor of one element but got %lld: the truth of several is "
                 "ambiguous, use .any() or .all()",
                 static_cast<long long>(t.numel()));
    return -1;
  }
  int truth = -1;
  guarded([&] {
    check_readable(t, "bool");
    truth = load_scalar_f64(on_cpu(t).raw(), t.dtype()) != 0.0;
    return Py_None;
  });
  return truth;
}

PyObject* slot_float(PyObject* self) {
  return guarded([&]() -> PyObject* {
    py::object v = py::reinterpret_steal<py::object>(item(self_of(self)));
    return PyNumber_Float(v.ptr());
  });
}
PyObject* slot_int(PyObject* self) {
  return guarded([&]() -> PyObject* {
    py::object v = py::reinterpret_steal<py::object>(item(self_of(self)));
    return PyNumber_Long(v.ptr());
  });
}
PyObject* slot_index(PyObject* self) {
  const Tensor& t = self_of(self);
  if (!is_integral(t.dtype()) || t.numel() != 1) {
    PyErr_SetString(PyExc_TypeError, "[index] expected an integer tensor of one element");
    return nullptr;
  }
  return guarded([&] {
    check_readable(t, "index");
    return PyLong_FromLongLong(load_scalar_i64(on_cpu(t).raw(), t.dtype()));
  });
}

// containers --------------------------------------------------------------------------------------

Py_ssize_t slot_length(PyObject* self) {
  const Tensor& t = self_of(self);
  if (t.dim() == 0) {
    PyErr_SetString(PyExc_TypeError, "[len] expected at least one dimension but got a scalar");
    return -1;
  }
  return t.size(0);
}

int slot_assign(PyObject*, PyObject*, PyObject*) {
  PyErr_SetString(PyExc_TypeError,
                  "[setitem] expected a functional update but got an assignment: Tensors are "
                  "values; use annx.where, scatter_add or concat, or build the array in NumPy");
  return -1;
}

PyObject* slot_item(PyObject* self, Py_ssize_t i) {
  return guarded([&] {
    return wrap(call(def::select, {self_of(self)}, {Attr(0), Attr(static_cast<int64_t>(i))}));
  });
}

// buffer protocol -----------------------------------------------------------------------------------

struct BufferShape {
  Py_ssize_t shape[kMaxDims];
  Py_ssize_t strides[kMaxDims];
};

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  static const char* formats[kDTypeCount] = {"f", "d", "e", nullptr, "q", "i", "B", "?"};
  const Tensor& t = self_of(self);
  if (!guarded([&]() -> PyObject* {
        check_readable(t, "numpy");
        return Py_None;
      }))
    return -1;
  const char* problem = nullptr;
  if (t.requires_grad()) problem = "the tensor requires grad: use detach() first";
  if (!t.device().is_cpu()) problem = "the tensor is on cuda: use cpu() first";
  if (!formats[static_cast<int>(t.dtype())]) problem = "bfloat16 has no buffer format";
  if (flags & PyBUF_WRITABLE) problem = "tensors are values: the memory is read-only";
  const bool strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
  if (!strided && !t.is_contiguous()) problem = "the tensor is not contiguous";
  if (problem) {
    PyErr_Format(PyExc_BufferError, "[buffer] expected a readable request but %s", problem);
    return -1;
  }
  auto* shape = new BufferShape;
  for (int i = 0; i < t.dim(); ++i) {
    shape->shape[i] = t.size(i);
    shape->strides[i] = t.stride(i) * static_cast<int64_t>(itemsize(t.dtype()));
  }
  view->buf = t.raw();
  view->obj = Py_NewRef(self);
  view->len = static_cast<Py_ssize_t>(t.nbytes());
  view->readonly = 1;
  view->itemsize = static_cast<Py_ssize_t>(itemsize(t.dtype()));
  view->format =
      flags & PyBUF_FORMAT ? const_cast<char*>(formats[static_cast<int>(t.dtype())]) : nullptr;
  view->ndim = t.dim();
  view->shape = flags & PyBUF_ND ? shape->shape : nullptr;
  view->strides = strided ? shape->strides : nullptr;
  view->suboffsets = nullptr;
  view->internal = shape;
  return 0;
}

void release_buffer(PyObject*, Py_buffer* view) {
  delete static_cast<BufferShape*>(view->internal);
}

// attributes --------------------------------------------------------------------------------------

PyObject* dims_tuple(const Dims& dims) {
  PyObject* out = PyTuple_New(dims.size());
  for (int i = 0; out && i < dims.size(); ++i)
    PyTuple_SET_ITEM(out, i, PyLong_FromLongLong(dims[i]));
  return out;
}

PyObject* get_shape(PyObject* self, void*) { return dims_tuple(self_of(self).shape()); }
PyObject* get_ndim(PyObject* self, void*) { return PyLong_FromLong(self_of(self).dim()); }
PyObject* get_dtype(PyObject* self, void*) { return dtype_object(self_of(self).dtype()); }
PyObject* get_requires_grad(PyObject* self, void*) {
  return guarded([&] {
    note_look(self_of(self));
    return PyBool_FromLong(self_of(self).requires_grad());
  });
}
int set_requires_grad(PyObject* self, PyObject* value, void*) {
  return guarded([&]() -> PyObject* {
    note_change(self_of(self));
    autograd::set_requires_grad(self_of(self), value && PyObject_IsTrue(value) == 1);
    return Py_None;
  })
             ? 0
             : -1;
}
PyObject* get_is_leaf(PyObject* self, void*) {
  return PyBool_FromLong(autograd::is_leaf(self_of(self)));
}
PyObject* get_grad(PyObject* self, void*) {
  return guarded([&]() -> PyObject* {
    autograd::note_grad_use(self_of(self));
    const auto* m = autograd::meta_of(self_of(self));
    return m ? wrap(m->grad) : Py_NewRef(Py_None);
  });
}
int set_grad(PyObject* self, PyObject* value, void*) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = self_of(self);
    if (!value || value == Py_None) {
      autograd::note_grad_use(t, true);
      if (auto* m = autograd::meta_of(t)) m->grad = Tensor();
      return Py_None;
    }
    ANNX_CHECK(is_tensor(value), type, "grad", "expected a Tensor or None but got ",
               Py_TYPE(value)->tp_name);
    const Tensor& g = tensor_of(value);
    ANNX_CHECK(g.shape() == t.shape() && g.dtype() == t.dtype(), value, "grad", "expected shape ",
               t.shape(), " and dtype ", t.dtype(), " but got ", g.shape(), " and ", g.dtype());
    autograd::ensure_meta(t);
    autograd::note_grad_use(t, true);
    autograd::meta_of(t)->grad = g;
    return Py_None;
  })
             ? 0
             : -1;
}
PyObject* get_grad_fn(PyObject* self, void*) {
  const auto* m = autograd::meta_of(self_of(self));
  if (!m || !m->grad_fn) Py_RETURN_NONE;
  return PyUnicode_FromFormat("<%s>", m->grad_fn->name());
}
PyObject* get_T(PyObject* self, void*) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = self_of(self);
    Dims dims;
    for (int i = t.dim() - 1; i >= 0; --i) dims.push_back(i);
    return wrap(ops::permute(t, dims));
  });
}
PyObject* get_mT(PyObject* self, void*) {
  return guarded([&] { return wrap(ops::transpose(self_of(self), -2, -1)); });
}
PyObject* get_device(PyObject* self, void*) {
  return guarded([&] { return py::cast(self_of(self).device()).release().ptr(); });
}
PyObject* get_is_cuda(PyObject* self, void*) {
  return PyBool_FromLong(!self_of(self).device().is_cpu());
}
PyObject* get_data(PyObject* self, void*) {
  return guarded([&] { return wrap(self_of(self).detach()); });
}
// The tensor stays the same object, leaf and parameter; only its values, dtype and place change.
int set_data(PyObject* self, PyObject* value, void*) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = self_of(self);
    ANNX_CHECK(value && is_tensor(value), type, "data", "expected a Tensor but got ",
               value ? Py_TYPE(value)->tp_name : "a deletion");
    const TensorImpl& source = *tensor_of(value).impl();
    ANNX_CHECK(autograd::is_leaf(t), runtime, "data",
               "expected a leaf tensor but got the result of a recorded op");
    ANNX_CHECK(!t.requires_grad() || is_floating(source.dtype), type, "data",
               "expected a floating dtype for a tensor that requires grad but got ", source.dtype);
    TensorImpl& target = *t.impl();
    target.storage = source.storage;
    target.offset = source.offset;
    target.shape = source.shape;
    target.strides = source.strides;
    target.numel = source.numel;
    target.dtype = source.dtype;
    target.contiguous = source.contiguous;
    program::note_leaf_change();
    bump_structure();
    return Py_None;
  })
             ? 0
             : -1;
}
PyObject* get_nbytes(PyObject* self, void*) { return PyLong_FromSize_t(self_of(self).nbytes()); }
PyObject* get_itemsize(PyObject* self, void*) {
  return PyLong_FromSize_t(itemsize(self_of(self).dtype()));
}
PyObject* get_version(PyObject* self, void*) {
  return PyLong_FromUnsignedLong(self_of(self).storage()->version());
}

// methods -----------------------------------------------------------------------------------------

PyObject* m_item(PyObject* self, PyObject*) {
  return guarded([&] { return item(self_of(self)); });
}
PyObject* m_numel(PyObject* self, PyObject*) { return PyLong_FromLongLong(self_of(self).numel()); }
PyObject* m_dim(PyObject* self, PyObject*) { return PyLong_FromLong(self_of(self).dim()); }
PyObject* m_size(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  return guarded([&]() -> PyObject* {
    const Tensor& t = self_of(self);
    if (n == 0) return dims_tuple(t.shape());
    const int64_t d = PyLong_AsLongLong(args[0]);
    if (d == -1 && PyErr_Occurred()) return nullptr;
    ANNX_CHECK(t.dim() > 0, index, "size", "expected at least one dimension but got a scalar");
    return PyLong_FromLongLong(t.size(normalize_dim(d, t.dim(), "size")));
  });
}
PyObject* m_stride(PyObject* self, PyObject*) { return dims_tuple(self_of(self).strides()); }
PyObject* m_detach(PyObject* self, PyObject*) {
  return guarded([&] { return wrap(self_of(self).detach()); });
}
PyObject* m_data_ptr(PyObject* self, PyObject*) {
  return PyLong_FromVoidPtr(self_of(self).device_raw());
}
PyObject* m_retain_grad(PyObject* self, PyObject*) {
  return guarded([&] {
    autograd::retain_grad(self_of(self));
    return Py_NewRef(Py_None);
  });
}
PyObject* m_requires_grad_(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  return guarded([&]() -> PyObject* {
    note_change(self_of(self));
    autograd::set_requires_grad(self_of(self), n == 0 || PyObject_IsTrue(args[0]) == 1);
    return Py_NewRef(self);
  });
}

// Writes source, broadcast and cast, into the storage of self. Not recorded on the tape.
PyObject* m_copy_(PyObject* self, PyObject* source) {
  return guarded([&]() -> PyObject* {
    ops::copy_into(self_of(self), to_tensor(source, "copy_", "source"));
    return Py_NewRef(self);
  });
}

PyMethodDef methods[] = {
    {"item", m_item, METH_NOARGS, "item()\n--\n\nThe only element as a Python number."},
    {"numel", m_numel, METH_NOARGS, "numel()\n--\n\nNumber of elements."},
    {"dim", m_dim, METH_NOARGS, "dim()\n--\n\nNumber of dimensions."},
    {"size", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(m_size)), METH_FASTCALL,
     "size(dim=None)\n--\n\nThe shape, or one size."},
    {"stride", m_stride, METH_NOARGS, "stride()\n--\n\nStrides in elements."},
    {"detach", m_detach, METH_NOARGS, "detach()\n--\n\nThe same values, off the tape."},
    {"data_ptr", m_data_ptr, METH_NOARGS, "data_ptr()\n--\n\nAddress of the first element."},
    {"retain_grad", m_retain_grad, METH_NOARGS,
     "retain_grad()\n--\n\nKeeps grad of a computed tensor after backward."},
    {"requires_grad_",
     reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(m_requires_grad_)), METH_FASTCALL,
     "requires_grad_(requires_grad=True)\n--\n\nSets requires_grad; returns self."},
    {"copy_", m_copy_, METH_O,
     "copy_(source)\n--\n\nWrites source into the memory of self, off the tape; returns self."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef getset[] = {
    {"shape", get_shape, nullptr, "Sizes, as a tuple.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of dimensions.", nullptr},
    {"dtype", get_dtype, nullptr, "Element type.", nullptr},
    {"device", get_device, nullptr, "Where the memory is.", nullptr},
    {"is_cuda", get_is_cuda, nullptr, "Whether the memory is a CUDA device's.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad, "Whether ops are recorded.", nullptr},
    {"grad", get_grad, set_grad, "Gradient added up by backward, or None.", nullptr},
    {"grad_fn", get_grad_fn, nullptr, "Name of the op that made it, or None.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether no recorded op made it.", nullptr},
    {"T", get_T, nullptr, "Dimensions in reverse order.", nullptr},
    {"mT", get_mT, nullptr, "The last two dimensions swapped.", nullptr},
    {"data", get_data, set_data, "The values off the tape; assigning replaces them.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes of one element.", nullptr},
    {"_version", get_version, nullptr, "Writes into the storage so far.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyTensor, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

template <class F>
void* slot(F f) {
  return reinterpret_cast<void*>(f);
}

}  // namespace

void init_tensor_type(py::module_& m) {
  static PyType_Slot slots[] = {
      {Py_tp_dealloc, slot(tensor_dealloc)},
      {Py_tp_new, slot(tensor_new)},
      {Py_tp_hash, slot(slot_hash)},
      {Py_tp_richcompare, slot(slot_compare)},
      {Py_tp_methods, methods},
      {Py_tp_getset, getset},
      {Py_tp_members, members},
      {Py_tp_doc, const_cast<char*>("A typed array with a gradient: a functional value.")},
      {Py_nb_add, slot(slot_add)},
      {Py_nb_subtract, slot(slot_sub)},
      {Py_nb_multiply, slot(slot_mul)},
      {Py_nb_true_divide, slot(slot_div)},
      {Py_nb_floor_divide, slot(slot_floordiv)},
      {Py_nb_remainder, slot(slot_mod)},
      {Py_nb_power, slot(slot_pow)},
      {Py_nb_matrix_multiply, slot(slot_matmul)},
      {Py_nb_negative, slot(slot_neg)},
      {Py_nb_absolute, slot(slot_abs)},
      {Py_nb_invert, slot(slot_invert)},
      {Py_nb_and, slot(slot_and)},
      {Py_nb_or, slot(slot_or)},
      {Py_nb_xor, slot(slot_xor)},
      {Py_nb_bool, slot(slot_bool)},
      {Py_nb_float, slot(slot_float)},
      {Py_nb_int, slot(slot_int)},
      {Py_nb_index, slot(slot_index)},
      {Py_mp_length, slot(slot_length)},
      {Py_mp_subscript, slot(subscript)},
      {Py_mp_ass_subscript, slot(slot_assign)},
      {Py_sq_item, slot(slot_item)},
      {Py_sq_length, slot(slot_length)},
      {Py_bf_getbuffer, slot(get_buffer)},
      {Py_bf_releasebuffer, slot(release_buffer)},
      {0, nullptr}};
  static PyType_Spec spec = {"annx._core.Tensor", sizeof(PyTensor), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  tensor_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (!tensor_type) throw py::error_already_set();
  m.add_object("Tensor",
               py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(tensor_type)));
  // NumPy's own operators step back, so that array + tensor is a tensor.
  py::handle(reinterpret_cast<PyObject*>(tensor_type)).attr("__array_priority__") = 1000;
  py::handle(reinterpret_cast<PyObject*>(tensor_type)).attr("__array_ufunc__") = py::none();

  py::class_<Device>(m, "device", "Where a tensor's memory is: 'cpu' or 'cuda:0'.")
      .def(py::init([](const std::string& name) { return named_device(name.c_str(), "device"); }),
           py::arg("type"))
      .def(py::init([](const std::string& type, int index) {
             return named_device((type + ":" + std::to_string(index)).c_str(), "device");
           }),
           py::arg("type"), py::arg("index"))
      .def("__reduce__",
           [](const py::object& self) {
             return py::make_tuple(py::type::of(self), py::make_tuple(py::str(self)));
           })
      .def_property_readonly("type", [](Device d) { return d.is_cpu() ? "cpu" : "cuda"; })
      .def_property_readonly("index", [](Device d) { return int{d.index}; })
      .def("__str__",
           [](Device d) {
             return d.is_cpu() ? std::string("cpu") : "cuda:" + std::to_string(d.index);
           })
      .def("__repr__",
           [](Device d) {
             return d.is_cpu() ? std::string("device('cpu')")
                               : "device('cuda:" + std::to_string(d.index) + "')";
           })
      .def("__eq__",
           [](Device a, const py::object& b) {
             if (py::isinstance<Device>(b)) return a == b.cast<Device>();
             return py::isinstance<py::str>(b) &&
                    b.cast<std::string>() ==
                        (a.is_cpu() ? "cpu" : "cuda:" + std::to_string(a.index));
           })
      .def("__hash__", [](Device d) { return static_cast<int>(d.kind) * 64 + d.index; });

  m.def(
      "make_subclass",
      [](py::handle type, py::handle data, bool requires_grad) {
        ANNX_CHECK(PyType_Check(type.ptr()) &&
                       PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(type.ptr()), tensor_type),
                   type, "make_subclass", "expected a subclass of Tensor");
        ANNX_CHECK(is_tensor(data.ptr()), type, "make_subclass", "expected a Tensor");
        Tensor t = tensor_of(data.ptr()).detach();
        autograd::set_requires_grad(t, requires_grad);
        return py::reinterpret_steal<py::object>(
            wrap_as(reinterpret_cast<PyTypeObject*>(type.ptr()), t));
      },
      "An instance of a subclass of Tensor over the memory of data.");
  m.def(
      "from_buffer",
      [](py::handle o, bool copy) {
        return py::reinterpret_steal<py::object>(wrap(from_buffer(o.ptr(), copy)));
      },
      py::arg("obj"), py::arg("copy"), "A tensor from an object with the buffer protocol.");
}

}  // namespace annx::python
