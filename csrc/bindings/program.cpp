// Captured calls for Python: what they are told apart by, and programs that can be run again.
#include "bindings/capture.h"
#include "ops/conv/choice.h"
#include "program/explain.h"
#include "program/replay.h"

namespace annx::python {

namespace {

using program::Runner;

// What tells calls apart besides structure: appended to a key.
void append_spec(const Tensor& t, std::string& key) {
  const auto put = [&](int64_t v) { key.append(reinterpret_cast<const char*>(&v), sizeof v); };
  put(static_cast<int64_t>(t.dtype()) | (t.requires_grad() ? 256 : 0) |
      (static_cast<int64_t>(t.device().kind) << 16) |
      (static_cast<int64_t>(t.device().index) << 24));
  put(t.dim());
  for (int64_t d : t.shape()) put(d);
  if (!t.is_contiguous())
    for (int64_t s : t.strides()) put(~s);
}

// The key of a call: shapes, dtypes, devices, layouts, which arguments are the same memory, and the
// settings that ops make part of themselves.
py::bytes key_of(const TensorList& tensors) {
  std::string key(1, static_cast<char>(conv::winograd_choice()));
  for (int i = 0; i < tensors.size(); ++i) {
    append_spec(tensors[i], key);
    for (int j = 0; j < i; ++j)
      if (tensors[i].storage().get() == tensors[j].storage().get() &&
          tensors[i].offset() == tensors[j].offset())
        key.push_back(static_cast<char>(j + 1));
  }
  return py::bytes(key);
}

py::bytes call_key(const py::handle& sequence) { return key_of(tensors_of(sequence)); }

struct Deeper {
  Deeper() {
    if (Py_EnterRecursiveCall(" while reading arguments")) throw py::error_already_set();
  }
  ~Deeper() { Py_LeaveRecursiveCall(); }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
};

// Takes a tree apart: `structure` gets its containers in order, each with its size and its keys with
// their types, so that equal structures are equal lists. False where something else than a tensor is in it.
bool take_apart(const py::handle& tree, py::list& structure, py::list& leaves) {
  PyObject* const o = tree.ptr();
  if (Py_TYPE(o) == tensor_type) {
    structure.append(py::none());
    leaves.append(tree);
    return true;
  }
  if (o == Py_None) {
    structure.append(py::handle(reinterpret_cast<PyObject*>(Py_TYPE(o))));
    return true;
  }
  const bool list = PyList_CheckExact(o), tuple = PyTuple_CheckExact(o);
  if (!list && !tuple && !PyDict_CheckExact(o)) return false;
  const Deeper here;
  structure.append(py::handle(reinterpret_cast<PyObject*>(Py_TYPE(o))));
  bool taken = true;
  if (list || tuple) {
    // A list may only be changed by code of its owner: none runs here.
    const Py_ssize_t size = PySequence_Fast_GET_SIZE(o);
    structure.append(py::int_(size));
    for (Py_ssize_t i = 0; taken && i < size; ++i)
      taken = take_apart(PySequence_Fast_GET_ITEM(o, i), structure, leaves);
  } else {
    structure.append(py::int_(PyDict_Size(o)));
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (taken && PyDict_Next(o, &at, &name, &value)) {
      structure.append(py::handle(reinterpret_cast<PyObject*>(Py_TYPE(name))));  // 1 == True
      structure.append(py::handle(name));
      taken = take_apart(value, structure, leaves);
    }
  }
  return taken;
}

// Of a tuple of arguments: (what the call is told apart by, its tensors, how to put its arguments
// together again), or None where a leaf is no tensor.
PyObject* read_arguments(PyObject*, PyObject* const* given, Py_ssize_t) {
  return guarded([&]() -> PyObject* {
    const py::handle arguments = given[0];
    py::list structure, leaves;
    structure.append(py::bool_(grad_enabled()));
    if (!take_apart(arguments, structure, leaves)) Py_RETURN_NONE;
    const py::tuple key = py::make_tuple(py::tuple(structure), key_of(tensors_of(leaves)));
    return py::make_tuple(key, py::tuple(leaves), py::make_tuple(py::none(), arguments))
        .release()
        .ptr();
  });
}

// A tree of tensors that read_arguments has read, with containers of its own.
py::object copy_containers(const py::handle& tree) {
  PyObject* const o = tree.ptr();
  const Deeper here;
  if (PyTuple_CheckExact(o)) {
    py::tuple out(static_cast<size_t>(PyTuple_GET_SIZE(o)));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(o); ++i)
      out[static_cast<size_t>(i)] = copy_containers(PyTuple_GET_ITEM(o, i));
    return out;
  }
  if (PyList_CheckExact(o)) {
    py::list out;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(o); ++i)
      out.append(copy_containers(PyList_GET_ITEM(o, i)));
    return out;
  }
  if (PyDict_CheckExact(o)) {
    py::dict out;
    PyObject *name, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(o, &at, &name, &value)) out[py::handle(name)] = copy_containers(value);
    return out;
  }
  return py::reinterpret_borrow<py::object>(tree);
}

py::tuple run_program(Runner& runner, const py::handle& arguments) {
  const TensorList in = tensors_of(arguments);
  TensorList out;
  {
    py::gil_scoped_release release;
    out = runner.run(in);
  }
  track(out, runner.program().tracked);
  return py::reinterpret_steal<py::tuple>(wrap_tuple(out));
}

Tensor optional_tensor(const py::handle& o) {
  return o.is_none() ? Tensor() : TensorList(tensors_of(py::make_tuple(o)))[0];
}

// A loop over rows; the counts are those of the run so far, also after an error.
void init_loop(py::module_& m) {
  using program::Loop;
  py::class_<Loop>(m, "RowLoop", "Batches of rows that a program runs on, one after the other.")
      .def(py::init([](const py::handle& columns, const py::handle& order, int64_t first,
                       int64_t size, int64_t batches, const py::list& feeds, bool sums,
                       const py::list& kept, double total, double seconds) {
             auto loop = std::make_unique<Loop>();
             loop->columns = tensors_of(columns);
             loop->order = optional_tensor(order);
             loop->first = first;
             loop->size = size;
             loop->batches = batches;
             for (const py::handle& feed : feeds) {
               const TensorList pair = tensors_of(feed);
               ANNX_CHECK(pair.size() == 2, value, "run_rows", "expected pairs of tensors");
               loop->feeds.push_back({pair[0], pair[1]});
             }
             loop->sums = sums;
             for (const py::handle& place : kept) loop->kept.push_back(optional_tensor(place));
             loop->total = total;
             loop->seconds = seconds;
             return loop;
           }),
           py::arg("columns"), py::arg("order"), py::arg("first"), py::arg("size"),
           py::arg("batches"), py::arg("feeds"), py::arg("sums"), py::arg("kept"), py::arg("total"),
           py::arg("seconds"))
      .def_readonly("done", &Loop::done, "Batches that were run.")
      .def_readonly("fed", &Loop::fed, "Batches whose optimizer step was begun.")
      .def_readonly("total", &Loop::total, "Sum of the first result times the rows.");
}

}  // namespace

void init_program(py::module_& m) {
  init_loop(m);
  init_capture(m);
  py::class_<Runner, std::shared_ptr<Runner>>(m, "Program", "A captured call.")
      .def("run", run_program, "Runs it again for other arguments; returns the results.")
      .def(
          "run_rows",
          [](Runner& r, program::Loop& loop) {
            py::gil_scoped_release release;
            r.run(loop);
          },
          "Runs it on batch after batch, as the loop says.")
      .def("runs_on_rows",
           [](const Runner& r, bool sums) { return program::Loop::fits(r.program(), sums); })
      .def("result_specs",
           [](const Runner& r) {
             const program::Program& p = r.program();
             py::list out;
             for (int v : p.results) {
               const program::Value& value = p.values[static_cast<size_t>(v)];
               py::list shape;
               for (int64_t d : value.shape) shape.append(d);
               out.append(py::make_tuple(shape, std::string(name(value.dtype))));
             }
             return out;
           })
      .def("fits", [](const Runner& r) { return program::Instance::fits(r.program()); })
      .def("failed_scope", &Runner::failed_scope)
      .def("explain", [](const Runner& r) { return program::explain(r.program()); })
      .def("instructions",
           [](const Runner& r) {
             py::list out;
             for (const program::Line& line : program::lines(r.program()))
               out.append(py::make_tuple(line.name, line.text, line.flops, line.bytes));
             return out;
           })
      .def("fingerprint", [](const Runner& r) { return program::fingerprint(r.program()); })
      .def("changes_state", &Runner::changes_state)
      .def("prepare", &Runner::prepare, py::call_guard<py::gil_scoped_release>())
      .def("sizes",
           [](const Runner& r) {
             const program::Program& p = r.program();
             py::dict d;
             d["recorded"] = p.recorded;
             d["instructions"] = p.instructions.size();
             d["arena_bytes"] = p.arena_bytes;
             d["live_bytes"] = p.live_bytes;
             return d;
           })
      .def("trace", [](Runner& r, const py::handle& arguments) {
        const TensorList in = tensors_of(arguments);
        std::vector<std::pair<int64_t, int64_t>> times;
        {
          py::gil_scoped_release release;
          times = r.timed_run(in);
        }
        py::list out;
        for (const auto& [begin, end] : times) out.append(py::make_tuple(begin, end));
        return out;
      });
  m.def("call_key", call_key, "What programs are told apart by.");
  add_quick(m, "read_arguments", read_arguments, "A call's tensors, and its key.");
  m.def("number_argument", [](double value) {
    Tensor t = Tensor::scalar(value, DType::f64);
    t.impl()->wrapped_number = true;
    return py::reinterpret_steal<py::object>(wrap(t));
  });
  m.def("copy_containers", copy_containers, "A tree of tensors with containers of its own.");
}

}  // namespace annx::python
