// Rows that the tiles to come read or write, asked for a few at a time between tiles of products. The
// rows of a head are short pieces, often a page apart: no prefetcher follows them, and a cold one
// costs more than its arithmetic. They go into L2: L1 is full of tiles.

template <class T>
struct RowPieces {
  const T* p;
  int64_t rs, rows, cols;
};

template <class T>
struct Ahead {
  RowPieces<T> pieces[8];
  int first = 0, count = 0;
};
static constexpr int64_t kRowsAsked = 6;

template <class T>
ANNX_INLINE void ask(Ahead<T>* ahead, const T* p, int64_t rs, int64_t rows, int64_t cols) {
  if (rows > 0) ahead->pieces[ahead->count++] = {p, rs, rows, cols};
}

template <class T>
ANNX_INLINE void ask_some(Ahead<T>* ahead) {
  if (ahead->first == ahead->count) return;
  RowPieces<T>& piece = ahead->pieces[ahead->first];
  const int64_t bytes = piece.cols * static_cast<int64_t>(sizeof(T));
  const int64_t rows = piece.rows < kRowsAsked ? piece.rows : kRowsAsked;
  for (int64_t r = 0; r < rows; ++r, piece.p += piece.rs) {
    const char* line = reinterpret_cast<const char*>(piece.p);
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(line + i, 0, 2);
  }
  piece.rows -= rows;
  if (piece.rows == 0) ++ahead->first;
}
