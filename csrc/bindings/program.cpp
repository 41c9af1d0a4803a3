// Captured steps for Python: recording, and programs that can be run again.
#include <unordered_set>

#include "bindings/py.h"
#include "ops/conv/choice.h"
#include "program/explain.h"
#include "program/record.h"
#include "program/replay.h"

namespace annx::python {

namespace {

using program::Recorder;
using program::Runner;

thread_local std::unique_ptr<Recorder> t_recorder;

// Counts changes of modules that captured calls have to notice. Guarded by the GIL.
uint64_t g_structure_epoch = 0;

TensorList tensors_of(const py::handle& sequence) {
  TensorList out;
  py::object fast = py::reinterpret_steal<py::object>(PySequence_Fast(sequence.ptr(), "tensors"));
  if (!fast) throw py::error_already_set();
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(fast.ptr());
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = PySequence_Fast_GET_ITEM(fast.ptr(), i);
    ANNX_CHECK(is_tensor(o), type, "jit", "expected Tensors but got ", Py_TYPE(o)->tp_name);
    out.push_back(tensor_of(o));
  }
  return out;
}

Recorder& recorder() {
  ANNX_CHECK(t_recorder, runtime, "jit", "expected a capture at work on this thread");
  return *t_recorder;
}

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

// (what the call is told apart by, its tensors), or None where a leaf is no tensor.
py::object read_arguments(const py::tuple& arguments) {
  py::list structure, leaves;
  if (!take_apart(arguments, structure, leaves)) return py::none();
  return py::make_tuple(py::make_tuple(py::tuple(structure), key_of(tensors_of(leaves))),
                        py::tuple(leaves));
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

py::object checked(PyObject* o) {
  if (!o) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(o);
}

// What lies in instances' dictionaries is read there.
py::object attributes_of(PyObject* module) {
  return checked(PyObject_GenericGetDict(module, nullptr));
}

PyObject* entry_of(const py::object& dict, PyObject* key) {
  PyObject* const o = PyDict_GetItemWithError(dict.ptr(), key);
  if (!o && !PyErr_Occurred()) PyErr_SetObject(PyExc_KeyError, key);
  if (!o) throw py::error_already_set();
  return o;
}

void list_modules(PyObject* module, py::list& found, std::unordered_set<PyObject*>& met) {
  static PyObject* const registry = PyUnicode_InternFromString("_module_names");
  if (!met.insert(module).second) return;
  found.append(py::handle(module));
  const Deeper here;
  const py::object state = attributes_of(module);
  PyObject* const names = entry_of(state, registry);
  PyObject *name, *mark;
  Py_ssize_t place = 0;
  while (PyDict_Next(names, &place, &name, &mark)) {
    PyObject* const part = entry_of(state, name);
    if (part != Py_None) list_modules(part, found, met);
  }
}

// The roots, the modules of a record's scopes, and all below them, each once, parents first.
py::list modules_within(const py::list& roots, const py::list& scopes) {
  py::list found;
  std::unordered_set<PyObject*> met;
  for (const py::handle root : roots) list_modules(root.ptr(), found, met);
  for (const py::handle scope : scopes) list_modules(PyTuple_GetItem(scope.ptr(), 1), found, met);
  return found;
}

// Of each module: its mode, its count of edits, and the names of its parameters and buffers, each with
// the id of its memory, or -1.
py::list module_states(const py::list& modules) {
  static PyObject* const training = PyUnicode_InternFromString("training");
  static PyObject* const edits = PyUnicode_InternFromString("_edits");
  static PyObject* const registries[] = {PyUnicode_InternFromString("_parameter_names"),
                                         PyUnicode_InternFromString("_buffer_names")};
  py::list out(modules.size());
  for (size_t m = 0; m < modules.size(); ++m) {
    PyObject* const module = PyList_GET_ITEM(modules.ptr(), static_cast<Py_ssize_t>(m));
    const py::object state = attributes_of(module);
    PyObject* const names[] = {entry_of(state, registries[0]), entry_of(state, registries[1])};
    const Py_ssize_t count = PyDict_Size(names[0]);
    PyObject* const one = PyTuple_New(3 + 2 * (count + PyDict_Size(names[1])));
    PyList_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(m), one);
    Py_ssize_t at = 0;
    const auto put = [&](py::object o) { PyTuple_SET_ITEM(one, at++, o.release().ptr()); };
    put(checked(PyObject_GetAttr(module, training)));
    PyObject* const edited = PyDict_GetItemWithError(state.ptr(), edits);
    put(edited ? py::reinterpret_borrow<py::object>(edited) : py::int_(0));
    // Names of parameters and of buffers must not be mistaken for each other.
    put(py::int_(count));
    for (PyObject* registry : names) {
      PyObject *name, *mark;
      Py_ssize_t place = 0;
      while (PyDict_Next(registry, &place, &name, &mark)) {
        PyObject* const t = entry_of(state, name);
        put(py::reinterpret_borrow<py::object>(name));
        put(t == Py_None ? py::int_(-1) : py::int_(tensor_of(t).storage()->id()));
      }
    }
  }
  return out;
}

// (scopes, module, call, args, kwargs): call(*args, **kwargs), with what runs in it marked as the
// module's by the place of a new entry (scope around it, module) in the list of scopes.
PyObject* recorded_call(PyObject*, PyObject* const* given, Py_ssize_t) {
  PyObject *const scopes = given[0], *const module = given[1];
  if (!t_recorder) return PyObject_Call(given[2], given[3], given[4]);
  const int outer = t_recorder->set_scope(static_cast<int>(PyList_GET_SIZE(scopes)));
  const py::object around = py::int_(outer);
  PyObject* const entry = PyTuple_Pack(2, around.ptr(), module);
  const bool noted = entry && PyList_Append(scopes, entry) == 0;
  Py_XDECREF(entry);
  PyObject* const result = noted ? PyObject_Call(given[2], given[3], given[4]) : nullptr;
  if (t_recorder) t_recorder->set_scope(outer);
  return result;
}

std::function<void()> host_function(const py::object& fn) {
  // Programs may be dropped by a thread without the GIL.
  std::shared_ptr<py::object> held(new py::object(fn), [](py::object* o) {
    if (Py_IsInitialized()) {
      py::gil_scoped_acquire gil;
      delete o;
    } else {
      o->release();
      delete o;
    }
  });
  return [held] {
    py::gil_scoped_acquire gil;
    (*held)();
  };
}

// Results that required grad do so again, but their graph stayed inside the call.
void track(TensorList& results, const std::vector<char>& tracked) {
  bool any = false;
  for (char t : tracked) any = any || t;
  if (!any) return;
  Tensor leaf = Tensor::scalar(0.0f, DType::f32);
  autograd::set_requires_grad(leaf, true);
  const GradModeGuard recording(true);
  for (int i = 0; i < results.size(); ++i) {
    if (!tracked[static_cast<size_t>(i)]) continue;
    results[i] =
        autograd::custom_function("jit", {leaf}, {results[i]}, [](const TensorList&) -> TensorList {
          fail(
              ErrorKind::runtime, "jit",
              "expected backward inside the captured function but it was called on its result: the "
              "graph is not kept. Move loss.backward() into the function, or use annx.grad in it");
        })[0];
  }
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

void check_readable(const Tensor& t, const char* what) {
  if (Recorder* active = Recorder::active()) active->check_readable(t, what);
}

void note_change(const Tensor& t) {
  program::note_leaf_change();
  if (Recorder* active = Recorder::active()) active->note_change(t);
}

void bump_structure() { ++g_structure_epoch; }

void init_program(py::module_& m) {
  init_loop(m);
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
  m.def("read_arguments", read_arguments, "A call's tensors in nested containers, and its key.");
  m.def("copy_containers", copy_containers, "A tree of tensors with containers of its own.");
  m.def("modules_within", modules_within, "Modules and all below them, each once.");
  m.def("module_states", module_states, "Modes, edits, parameters and buffers of modules.");
  m.def("capture_begin", [](const py::handle& arguments, bool lenient) {
    ANNX_CHECK(!t_recorder, runtime, "jit", "expected no capture within a capture");
    t_recorder = std::make_unique<Recorder>(tensors_of(arguments), lenient);
  });
  m.def(
      "capture_end",
      [](const py::handle& results, bool optimize, bool prepared) -> py::object {
        std::shared_ptr<program::Program> p;
        if (!recorder().refusal().empty()) {
          const std::string why = recorder().refusal();
          t_recorder.reset();
          return py::str(why);
        }
        try {
          p = recorder().finish(tensors_of(results));
        } catch (...) {
          t_recorder.reset();
          throw;
        }
        t_recorder.reset();
        p->prepared = prepared;
        return py::cast(std::make_shared<Runner>(std::move(p), optimize));
      },
      py::arg("results"), py::arg("optimize") = true, py::arg("prepared") = false);
  m.def("number_argument", [](double value) {
    Tensor t = Tensor::scalar(value, DType::f64);
    t.impl()->wrapped_number = true;
    return py::reinterpret_steal<py::object>(wrap(t));
  });
  m.def("detached_results", [](const py::handle& results) {
    TensorList out;
    std::vector<char> tracked;
    for (const Tensor& t : tensors_of(results)) {
      out.push_back(t.detach());
      tracked.push_back(t.requires_grad());
    }
    track(out, tracked);
    return py::reinterpret_steal<py::tuple>(wrap_tuple(out));
  });
  m.def("structure_epoch", [] { return g_structure_epoch; });
  m.def("bump_structure", bump_structure);
  m.def("capture_abort", [] { t_recorder.reset(); });
  m.def("capturing", [] { return t_recorder != nullptr; });
  m.def("capture_host", [](const py::object& fn) { recorder().add_host_call(host_function(fn)); });
  static PyMethodDef recorded = {
      "recorded_call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(recorded_call)),
      METH_FASTCALL, "Calls a module, marking what runs in it."};
  m.add_object("recorded_call",
               py::reinterpret_steal<py::object>(PyCFunction_New(&recorded, nullptr)));
  m.def("capture_kept",
        [](const py::handle& results) { return recorder().kept_beyond(tensors_of(results)); });
  m.def("capture_refuse", [](const std::string& why) { recorder().refuse(why); });
  m.def("capture_region", [](int region) { return recorder().set_region(region); });
}

}  // namespace annx::python
