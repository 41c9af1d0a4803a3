// Writes down what an eager call does.
#pragma once

#include "ops/call.h"
#include "program/id_map.h"
#include "program/program.h"

namespace annx::program {

class Recorder final : public CallObserver {
 public:
  // Starts recording this thread's ops; the arguments' values may differ from call to call.
  // A lenient recorder lets pass what cannot be captured, and says so at the end.
  explicit Recorder(const TensorList& arguments, bool lenient = false);
  ~Recorder() override;

  // Stops and gives the program, whose results are these tensors.
  std::shared_ptr<Program> finish(const TensorList& results);

  // Throws, or notes why there is no program if lenient.
  void refuse(const std::string& why) { refuse(ErrorKind::runtime, "jit", why); }
  // Why there is no program; empty if there is one.
  const std::string& refusal() const { return refusal_; }

  // The recorder at work on this thread, or null.
  static Recorder* active();

  // Throws unless the value of t may be read now by the host without being baked in.
  void check_readable(const Tensor& t, const char* what);

  // A function that every replay calls at this place.
  void add_host_call(std::function<void()> fn);
  // How many tensors that the call computed are still held by somebody besides these.
  int kept_beyond(const TensorList& results) const;
  // Tags instructions from here on; returns the tag before.
  int set_scope(int scope);
  // Instructions from here on form a new region (-1) or belong to a known one; returns the one
  // before.
  int set_region(int region);

  // requires_grad or the hooks of a leaf were looked at, or are about to change.
  void note_change(const Tensor& leaf);
  // The random stream is set: a replay would not do that again.
  void reseeded();

  void before(const OpCall& c) override;
  void after(const OpCall& c) override;
  void drew(uint64_t seed, uint64_t counter) override;
  bool varies(const Tensor& number) const override;
  void drew_apart() override;
  void depends_on_values(const char* op) override;
  void use_leaf(const Tensor& leaf, bool replaced);

 private:
  // Of what lies within an argument: its place in argument_buffers_, else -1.
  int argument_of(const Tensor& t) const;
  int buffer_of(const Tensor& t, bool output);
  int value_of(const Tensor& t, bool output = false);
  bool is_lost(const Leaf& l) const;
  void drop_lost_leaves();
  // Has replays look whether t is as it was.
  void watch(const Tensor& t);
  int argument_buffer(const Tensor& t, const Ids& candidates) const;

  std::shared_ptr<Program> program_;
  // Small steps fit into the tables at once.
  struct Seen {
    int value = -1;        // the first of the buffer
    bool written = false;  // besides by the op that makes it
  };
  IdMap buffers_{8};            // by storage id; of arguments: -1 - place in argument_buffers_
  IdMap values_{4};             // newest value of a hash, but for the first of each buffer
  IdMap leaves_{6};             // by address
  IdMap watched_{7};            // likewise
  IdMap draws_{3};              // places of draws by counter
  std::vector<int> same_hash_;  // per value: the next of its hash, or -1
  std::vector<Ids> argument_buffers_;  // arguments of one storage
  std::vector<Seen> seen_;             // per buffer
  SmallVec<uint32_t, 4> versions_;
  void refuse(ErrorKind kind, const char* op, const std::string& why);

  std::vector<const TensorImpl*> argument_impls_;
  std::string refusal_;
  bool lenient_;
  uint64_t seed_ = 0, last_draw_ = 0;
  int scope_ = -1, region_ = 0, regions_ = 0;
};

}  // namespace annx::program
