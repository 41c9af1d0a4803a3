// Convolution and its transposition as products of matrices whose left operand is never built: rows
// are pixels, given by address, columns are taps and channels, given by distance (slab.h).
#include <memory>
#include <vector>

#include "core/thread_pool.h"
#include "ops/conv/paths.h"
#include "ops/conv/slab.h"
#include "ops/conv/weights.h"
#include "ops/conv/workspace.h"

namespace annx::conv {
namespace {

constexpr int64_t kBlockRows = 256;  // rows of a weight panel at a time: they stay in L1

// The destination pixels that share their taps. Forward there is one phase; transposed, one for every
// remainder of the stride in each dimension.
template <class T>
struct Phase {
  int64_t at[3];
  std::vector<int64_t> offsets;
  std::vector<int64_t> taps;
};

template <class T>
std::vector<Phase<T>> phases_of(const Correlation& c, const Slabs<T>& slabs) {
  std::vector<Phase<T>> phases;
  const Axis* axis = c.axis;
  for (int64_t d = 0; d < axis[0].phases(); ++d)
    for (int64_t h = 0; h < axis[1].phases(); ++h)
      for (int64_t w = 0; w < axis[2].phases(); ++w) {
        Phase<T> phase{{d, h, w}, {}, {}};
        std::vector<int64_t> distances;
        for (int64_t t = 0; t < c.taps(); ++t) {
          const int64_t s = t % axis[2].taps, r = t / axis[2].taps % axis[1].taps;
          const int64_t q = t / axis[2].taps / axis[1].taps;
          if (axis[0].tap_phase(q) != d || axis[1].tap_phase(r) != h || axis[2].tap_phase(s) != w)
            continue;
          phase.taps.push_back(t);
          distances.push_back(slabs.offset(q, r, s));
        }
        for (int64_t i = 0; i < c.reduce; ++i)
          for (int64_t distance : distances) phase.offsets.push_back(distance + i);
        phases.push_back(std::move(phase));
      }
  return phases;
}

template <class T>
std::vector<std::unique_ptr<PackedWeights<T>>> pack_phases(const Correlation& c, const T* w,
                                                           const std::vector<Phase<T>>& phases) {
  std::vector<std::unique_ptr<PackedWeights<T>>> packed;
  for (const Phase<T>& phase : phases)
    packed.push_back(std::make_unique<PackedWeights<T>>(c, w, phase.taps));
  return packed;
}

template <class T>
class Correlate {
 public:
  Correlate(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
            T* y, const ReadyWeights<T>* ready)
      : c_(c), slabs_(c), x_(x), bias_(bias), activation_(activation), y_(y) {
    phases_ = phases_of(c, slabs_);
    if (!ready) own_ = pack_phases(c, w, phases_);
    weights_ = ready ? ready->phases.data() : own_.data();
    if (bias != nullptr) pad_bias();
  }

  void run() {
    const int64_t width = std::max<int64_t>(1, c_.axis[2].dest);
    const int64_t wanted = kTaskPixels * static_cast<int64_t>(phases_.size());
    const int64_t grain = std::max<int64_t>(1, (wanted + width - 1) / width);
    parallel_for(c_.units(), grain, [&](int64_t begin, int64_t end) { task(begin, end); });
  }

 private:
  // Panels of whole vectors, as the weights'.
  void pad_bias() {
    const Panels<T> panels(c_.produce);
    padded_bias_.assign(static_cast<size_t>(c_.groups * panels.padded()), T(0));
    for (int64_t g = 0; g < c_.groups; ++g)
      std::copy_n(bias_ + g * c_.produce, c_.produce, padded_bias_.begin() + g * panels.padded());
  }

  void task(int64_t begin, int64_t end) {
    Workspace<T>& memory = workspace<T>();
    memory.runs.clear();
    int64_t size = 0;
    for (int64_t unit = begin; unit < end;) {
      const Run run = Run::at_unit(c_, unit, end);
      memory.runs.push_back(run);
      size += slabs_.size(run.first, run.last);
      unit += run.rows();
    }
    T* slab = static_cast<T*>(memory.scratch.reserve(checked_bytes(size, sizeof(T))));
    memory.base.clear();
    for (const Run& run : memory.runs) {
      memory.base.push_back(slabs_.fill(x_, run.image, run.plane, run.first, run.last, slab));
      slab += slabs_.size(run.first, run.last);
    }
    dense(memory);
    if (activation_ == Activation::none) return;
    const int64_t channels = c_.dest_channels(), width = c_.axis[2].dest;
    gemm_kernels_of<T>().epilogue({(end - begin) * width, channels, y_ + begin * width * channels,
                                   channels, T(1), nullptr, activation_});
  }

  // Calls f(source pixel, destination pixel) for the first pixel of every row of a phase.
  template <class F>
  void each_row(const Workspace<T>& memory, const Phase<T>& phase, F f) const {
    const Axis &ad = c_.axis[0], &ah = c_.axis[1], &aw = c_.axis[2];
    const int64_t start = aw.first(phase.at[2]);
    if (start >= aw.dest) return;
    const int64_t column = (aw.base(start) - aw.base(0)) * slabs_.column();
    for (size_t i = 0; i < memory.runs.size(); ++i) {
      const Run& run = memory.runs[i];
      if (ad.phase_of(run.plane) != phase.at[0]) continue;
      for (int64_t h = run.first; h <= run.last; ++h) {
        if (ah.phase_of(h) != phase.at[1]) continue;
        const T* a = memory.base[i] + (ah.base(h) - ah.base(run.first)) * slabs_.row() + column;
        T* c = y_ + (run.at + (h - run.first) * aw.dest + start) * c_.dest_channels();
        f(a, c);
      }
    }
  }

  int64_t pixels_of(const Phase<T>& phase) const {
    const Axis& aw = c_.axis[2];
    const int64_t start = aw.first(phase.at[2]);
    return start >= aw.dest ? 0 : (aw.dest - start + aw.dest_step() - 1) / aw.dest_step();
  }

  void dense(Workspace<T>& memory) {
    const Axis& aw = c_.axis[2];
    const int64_t x_step = aw.base_step() * slabs_.column();
    const int64_t y_step = aw.dest_step() * c_.dest_channels();
    for (size_t i = 0; i < phases_.size(); ++i) {
      const Phase<T>& phase = phases_[i];
      const int64_t pixels = pixels_of(phase);
      int64_t rows = 0;
      for (const Run& run : memory.runs) rows += run.rows();
      memory.a.resize(static_cast<size_t>(rows * pixels));
      memory.c.resize(static_cast<size_t>(rows * pixels));
      size_t count = 0;
      each_row(memory, phase, [&](const T* a, T* c) {
        for (int64_t p = 0; p < pixels; ++p, ++count, a += x_step, c += y_step) {
          memory.a[count] = a;
          memory.c[count] = c;
        }
      });
      if (count == 0) continue;
      if (phase.offsets.empty()) {
        for (size_t p = 0; p < count; ++p) {
          if (bias_ == nullptr)
            std::fill_n(memory.c[p], c_.dest_channels(), T(0));
          else
            std::copy_n(bias_, c_.dest_channels(), memory.c[p]);
        }
        continue;
      }
      products(memory, static_cast<int64_t>(count), phase, *weights_[i]);
    }
  }

  void products(const Workspace<T>& memory, int64_t count, const Phase<T>& phase,
                const PackedWeights<T>& weights) {
    const Panels<T>& panels = weights.panels();
    ConvBlock<T> block = {};
    block.rows = count;
    block.a = memory.a.data();
    block.c = memory.c.data();
    for (int64_t g = 0; g < c_.groups; ++g) {
      block.a_shift = g * c_.reduce;
      for (int64_t k = 0; k < weights.rows(); k += kBlockRows) {
        block.k = std::min(kBlockRows, weights.rows() - k);
        block.offsets = phase.offsets.data() + k;
        block.from_zero = k == 0;
        for (int64_t q = 0; q < panels.count(); ++q) {
          block.vectors = panels.vectors_of(q);
          block.b_rs = block.vectors * kLanes<T>;
          block.b = weights.panel(g, q) + k * block.b_rs;
          block.cols = panels.cols_of(q);
          block.c_shift = g * c_.produce + q * panels.width();
          const bool last = k + kBlockRows >= weights.rows();
          block.bias = bias_ == nullptr || !last
                           ? nullptr
                           : padded_bias_.data() + g * panels.padded() + q * panels.width();
          kernels<T>().block(block);
        }
      }
    }
  }

  const Correlation& c_;
  Slabs<T> slabs_;
  const T* x_;
  const T* bias_;
  Activation activation_;
  T* y_;
  std::vector<Phase<T>> phases_;
  std::vector<std::unique_ptr<PackedWeights<T>>> own_;
  const std::unique_ptr<PackedWeights<T>>* weights_;  // by phase
  std::vector<T> padded_bias_;
};

// One product per group: pixels by channels.
template <class T>
void pointwise(const Correlation& c, const T* x, const T* w, const T* bias, Activation activation,
               T* y, const ReadyWeights<T>* ready) {
  GemmArgs<T> args;
  args.m = c.batch * c.dest_size(), args.n = c.produce, args.k = c.reduce;
  args.a_rs = c.source_channels();
  args.c_rs = c.dest_channels();
  args.b_rs = c.transposed ? c.produce : 1;
  args.b_cs = c.transposed ? 1 : c.reduce;
  args.activation = activation;
  for (int64_t g = 0; g < c.groups; ++g) {
    args.a = x + g * c.reduce;
    args.b = w + g * c.reduce * c.produce;
    args.c = y + g * c.produce;
    args.bias = bias == nullptr ? nullptr : bias + g * c.produce;
    if (ready)
      gemm(args, ready->groups[static_cast<size_t>(g)]);
    else
      gemm(args);
  }
}

template <class T>
void correlate(const ConvShape& s, bool transposed, const T* x, const T* w, const T* bias,
               Activation activation, T* y, const ReadyWeights<T>* ready) {
  const Correlation c(s, transposed);
  if (ready && ready->target != active_target()) ready = nullptr;
  if (s.depthwise()) return depthwise(c, x, w, bias, activation, y);
  if (s.pointwise()) return pointwise(c, x, w, bias, activation, y, ready);
  if (c.scatters()) return scatter(c, x, w, bias, activation, y);
  if (c.winograd()) return winograd(c, x, w, bias, activation, y, ready);
  Correlate<T>(c, x, w, bias, activation, y, ready).run();
}

}  // namespace

template <class T>
std::shared_ptr<const ReadyWeights<T>> ready_weights(const ConvShape& s, bool transposed,
                                                     const T* w) {
  const Correlation c(s, transposed);
  if (s.depthwise() || (!s.pointwise() && c.scatters())) return nullptr;
  auto ready = std::make_shared<ReadyWeights<T>>();
  if (s.pointwise()) {
    for (int64_t g = 0; g < c.groups; ++g)
      ready->groups.emplace_back(c.reduce, c.produce, w + g * c.reduce * c.produce,
                                 transposed ? c.produce : 1, transposed ? 1 : c.reduce);
  } else if (c.winograd()) {
    ready->u = winograd_weights(c, w, ready->planes);
  } else {
    ready->phases = pack_phases(c, w, phases_of(c, Slabs<T>(c)));
  }
  return ready;
}

template <class T>
void convolve(const ConvShape& s, const T* x, const T* w, const T* bias, Activation activation,
              T* y, const ReadyWeights<T>* ready) {
  correlate(s, false, x, w, bias, activation, y, ready);
}
template <class T>
void convolve_transposed(const ConvShape& s, const T* y, const T* w, const T* bias,
                         Activation activation, T* x, const ReadyWeights<T>* ready) {
  correlate(s, true, y, w, bias, activation, x, ready);
}

template void convolve(const ConvShape&, const float*, const float*, const float*, Activation,
                       float*, const ReadyWeights<float>*);
template void convolve(const ConvShape&, const double*, const double*, const double*, Activation,
                       double*, const ReadyWeights<double>*);
template void convolve_transposed(const ConvShape&, const float*, const float*, const float*,
                                  Activation, float*, const ReadyWeights<float>*);
template void convolve_transposed(const ConvShape&, const double*, const double*, const double*,
                                  Activation, double*, const ReadyWeights<double>*);
template std::shared_ptr<const ReadyWeights<float>> ready_weights(const ConvShape&, bool,
                                                                  const float*);
template std::shared_ptr<const ReadyWeights<double>> ready_weights(const ConvShape&, bool,
                                                                   const double*);

}  // namespace annx::conv
