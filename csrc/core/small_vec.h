// A vector whose first N elements live inline; longer lists (concat of many tensors) go to the heap.
#pragma once

#include <initializer_list>
#include <new>
#include <utility>

#include "core/allocator.h"

namespace annx {

template <class T, int N>
class SmallVec {
 public:
  SmallVec() = default;
  SmallVec(std::initializer_list<T> values) {
    for (const T& v : values) push_back(v);
  }
  SmallVec(const SmallVec& o) {
    for (const T& v : o) push_back(v);
  }
  SmallVec(SmallVec&& o) noexcept { take(o); }
  SmallVec& operator=(const SmallVec& o) {
    if (this != &o) {
      clear();
      for (const T& v : o) push_back(v);
    }
    return *this;
  }
  SmallVec& operator=(SmallVec&& o) noexcept {
    if (this != &o) {
      clear();
      free_heap();
      take(o);
    }
    return *this;
  }
  ~SmallVec() {
    clear();
    free_heap();
  }

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }
  T& operator[](int i) { return data()[i]; }
  const T& operator[](int i) const { return data()[i]; }
  T& back() { return data()[size_ - 1]; }
  T* data() { return heap_ ? heap_ : inline_data(); }
  const T* data() const { return const_cast<SmallVec*>(this)->data(); }

  template <class... Args>
  T& emplace_back(Args&&... args) {
    if (size_ == capacity_) grow();
    T* p = new (static_cast<void*>(data() + size_)) T(std::forward<Args>(args)...);
    ++size_;
    return *p;
  }
  void push_back(const T& v) { emplace_back(v); }
  void push_back(T&& v) { emplace_back(std::move(v)); }
  void resize(int n) {
    while (size_ > n) data()[--size_].~T();
    while (size_ < n) emplace_back();
  }
  void clear() { resize(0); }

 private:
  T* inline_data() { return reinterpret_cast<T*>(inline_); }
  void grow() {
    const int capacity = capacity_ * 2;
    T* fresh = static_cast<T*>(annx::allocate(sizeof(T) * static_cast<size_t>(capacity)));
    T* old = data();
    for (int i = 0; i < size_; ++i) {
      new (static_cast<void*>(fresh + i)) T(std::move(old[i]));
      old[i].~T();
    }
    free_heap();
    heap_ = fresh;
    capacity_ = capacity;
  }
  void free_heap() {
    if (heap_) annx::deallocate(heap_, sizeof(T) * static_cast<size_t>(capacity_));
    heap_ = nullptr;
    capacity_ = N;
  }
  void take(SmallVec& o) {
    if (o.heap_) {
      heap_ = std::exchange(o.heap_, nullptr);
      capacity_ = std::exchange(o.capacity_, N);
      size_ = std::exchange(o.size_, 0);
    } else {
      for (T& v : o) emplace_back(std::move(v));
      o.clear();
    }
  }

  int size_ = 0;
  int capacity_ = N;
  T* heap_ = nullptr;
  alignas(T) unsigned char inline_[sizeof(T) * N];
};

}  // namespace annx
