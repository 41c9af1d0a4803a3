// A short inline list of sizes, strides or axes: no allocation on the eager path.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "core/error.h"

namespace annx {

inline constexpr int kMaxDims = 8;

template <int Capacity>
class InlineInts {
 public:
  InlineInts() = default;
  InlineInts(std::initializer_list<int64_t> values) {
    for (int64_t v : values) push_back(v);
  }
  InlineInts(int n, int64_t value) {
    for (int i = 0; i < n; ++i) push_back(value);
  }
  template <int Other>
  explicit InlineInts(const InlineInts<Other>& other) {
    for (int64_t v : other) push_back(v);
  }

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t& operator[](int i) { return values_[i]; }
  int64_t operator[](int i) const { return values_[i]; }
  int64_t& back() { return values_[size_ - 1]; }
  int64_t back() const { return values_[size_ - 1]; }
  int64_t* begin() { return values_; }
  int64_t* end() { return values_ + size_; }
  const int64_t* begin() const { return values_; }
  const int64_t* end() const { return values_ + size_; }

  void push_back(int64_t v) {
    ANNX_CHECK(size_ < Capacity, value, "tensor", "expected at most ", Capacity,
               " dimensions but got more");
    values_[size_++] = v;
  }
  void insert(int at, int64_t v) {
    push_back(v);
    for (int i = size_ - 1; i > at; --i) values_[i] = values_[i - 1];
    values_[at] = v;
  }
  void erase(int at) {
    for (int i = at; i + 1 < size_; ++i) values_[i] = values_[i + 1];
    --size_;
  }
  void resize(int n, int64_t fill = 0) {
    while (size_ > n) --size_;
    while (size_ < n) push_back(fill);
  }
  bool contains(int64_t v) const {
    for (int64_t x : *this)
      if (x == v) return true;
    return false;
  }

  bool operator==(const InlineInts& other) const {
    if (size_ != other.size_) return false;
    for (int i = 0; i < size_; ++i)
      if (values_[i] != other.values_[i]) return false;
    return true;
  }

 private:
  int32_t size_ = 0;
  int64_t values_[Capacity];
};

using Dims = InlineInts<kMaxDims>;

// Prints as a Python tuple: (2, 3) or (2,).
template <int Capacity>
std::ostream& operator<<(std::ostream& out, const InlineInts<Capacity>& dims) {
  out << '(';
  for (int i = 0; i < dims.size(); ++i) out << (i ? ", " : "") << dims[i];
  return out << (dims.size() == 1 ? ",)" : ")");
}

// Number of elements; throws instead of wrapping when the product leaves int64.
int64_t numel_of(const Dims& shape, const char* op = "tensor");

// Row-major strides in elements.
Dims contiguous_strides(const Dims& shape);

// Maps -n..n-1 to 0..n-1, or throws IndexError naming the op.
inline int normalize_dim(int64_t dim, int ndim, const char* op) {
  const int64_t range = ndim == 0 ? 1 : ndim;
  ANNX_CHECK(dim >= -range && dim < range, index, op, "expected dim in [", -range, ", ", range - 1,
             "] but got ", dim);
  return static_cast<int>(dim < 0 ? dim + range : dim);
}

// The shape both operands broadcast to, or throws ValueError naming the op and both shapes.
Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op);

}  // namespace annx
