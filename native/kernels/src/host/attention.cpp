// Paged attention: which query rows meet which blocks of positions. A task is a row of the batch, a
// KV head and a run of its tokens; all query heads of the group share each staged block of K and V.
//
// The law holds because a query row walks blocks of 64 positions aligned to absolute positions,
// from its window's begin (or 0) to its own position, whatever tokens sit beside it.
#include <algorithm>
#include <limits>

#include "slora/kernels/host_kernels.hpp"
#include "src/host/isa.hpp"

namespace slora::kernels {
namespace {

// Query rows (tokens times heads) that share one staging of K and V.
constexpr int32_t kMaxQueryRows = 128;
constexpr int32_t kBlock = kAttentionBlock;

int32_t ceil_div(int32_t a, int32_t b) { return (a + b - 1) / b; }

struct Task {
  int32_t batch_row;
  int32_t kv_head;  // KV heads [kv_head, kv_head + num_kv_heads)
  int32_t num_kv_heads;
  int32_t
      group_begin;  // of each of their groups, query heads [group_begin, group_begin + num_heads)
  int32_t num_heads;
  int32_t first_token;
  int32_t num_tokens;

  int32_t rows_a_kv_head() const { return num_tokens * num_heads; }
};

// A thread's scratch: 64-byte aligned pieces, about 330 KiB at 128 query rows of 256.
struct Scratch {
  float* k;
  float* v;
  float* q;
  float* acc;
  float* p;
  float* max;
  float* sum;
  int32_t* begin;
  int32_t* end;

  Scratch(void* memory, int64_t head_size) {
    float* next = static_cast<float*>(memory);
    const auto take = [&](int64_t count) {
      float* piece = next;
      next += count;
      return piece;
    };
    k = take(head_size * kBlock);
    v = take(head_size * kBlock);
    q = take(kMaxQueryRows * head_size);
    acc = take(kMaxQueryRows * head_size);
    p = take(kMaxQueryRows * kBlock);
    max = take(kMaxQueryRows);
    sum = take(kMaxQueryRows);
    begin = reinterpret_cast<int32_t*>(take(kMaxQueryRows));
    end = reinterpret_cast<int32_t*>(take(kMaxQueryRows));
  }
};

class Attention {
 public:
  Attention(const AttentionParams& params, int32_t num_threads)
      : params_(params),
        padded_((params.head_size + 15) / 16 * 16),
        group_(params.num_heads / params.num_kv_heads) {
    int32_t longest = 0;
    for (int32_t s = 0; s < params.num_rows; ++s) {
      longest = std::max(longest, params.row_offsets[s + 1] - params.row_offsets[s]);
    }
    // Decode: the KV heads of a position lie side by side, so a task takes as many as leave a task
    // for each thread, and reads whole lines of pages. A prompt reads K and V from cache: one head,
    // more tokens.
    if (longest == 1) {
      const int32_t cuts =
          std::clamp(ceil_div(num_threads, params.num_rows), 1, params.num_kv_heads);
      const int32_t most = std::max(1, kMaxQueryRows / group_);
      kv_heads_a_task_ = std::min(ceil_div(params.num_kv_heads, cuts), most);
    }
    kv_parts_ = ceil_div(params.num_kv_heads, kv_heads_a_task_);
    // Heads of a group are cut where they are too many for the scratch, or where a decode step has
    // fewer (row, KV head) pairs than threads.
    const int32_t wanted = ceil_div(num_threads, params.num_rows * kv_parts_);
    heads_a_part_ = ceil_div(
        group_, std::clamp(ceil_div(group_, kMaxQueryRows), std::min(wanted, group_), group_));
    parts_ = ceil_div(group_, heads_a_part_);
    tokens_a_task_ = std::max(1, kMaxQueryRows / (heads_a_part_ * kv_heads_a_task_));
    token_blocks_ = ceil_div(longest, tokens_a_task_);
  }

  int32_t num_tasks() const { return params_.num_rows * kv_parts_ * parts_ * token_blocks_; }

  void run_task(int32_t idx, void* memory) const {
    // The last tokens of a row see the most positions: they go first, so that no thread ends with a
    // long one alone.
    Task task;
    const int32_t tasks_a_block = params_.num_rows * kv_parts_ * parts_;
    const int32_t token_block = token_blocks_ - 1 - idx / tasks_a_block;
    const int32_t rest = idx % tasks_a_block;
    task.batch_row = rest / (parts_ * kv_parts_);
    task.kv_head = rest / parts_ % kv_parts_ * kv_heads_a_task_;
    task.num_kv_heads = std::min(kv_heads_a_task_, params_.num_kv_heads - task.kv_head);
    task.group_begin = rest % parts_ * heads_a_part_;
    task.num_heads = std::min(heads_a_part_, group_ - task.group_begin);
    task.first_token = params_.row_offsets[task.batch_row] + token_block * tokens_a_task_;
    task.num_tokens =
        std::min(tokens_a_task_, params_.row_offsets[task.batch_row + 1] - task.first_token);
    if (task.num_tokens > 0) attend(task, Scratch(memory, padded_));
  }

 private:
  int32_t window_begin(int32_t position) const {
    return params_.window > 0 ? std::max(0, position - params_.window + 1) : 0;
  }

  void attend(const Task& task, const Scratch& scratch) const {
    load_queries(task, scratch);
    const int32_t window = window_begin(params_.token_position[task.first_token]);
    const int32_t end = params_.token_position[task.first_token + task.num_tokens - 1] + 1;
    Rows rows[2];
    const int32_t begin = window / kBlock * kBlock;
    find_rows(task, begin, end, window, rows[0]);
    for (int32_t block = begin, i = 0; block < end; block += kBlock, i ^= 1) {
      // The next block is on its way from memory while this one is worked on.
      if (block + kBlock < end) {
        find_rows(task, block + kBlock, end, window, rows[i ^ 1]);
        fetch(rows[i ^ 1], task.num_kv_heads);
      }
      set_ranges(task, scratch, block);
      for (int32_t kv = 0; kv < task.num_kv_heads; ++kv) {
        stage(rows[i], kv, scratch);
        run_block(task, kv, scratch);
      }
    }
    store(task, scratch);
  }

  // Where the K and V of a block's positions lie, of the task's first KV head.
  struct Rows {
    int32_t count;
    const uint8_t* k[kBlock];
    const uint8_t* v[kBlock];
  };

  // Positions of the block from `first` to `end`. Those before the window may lie in pages that the
  // sequence has given back: the window's first position stands in, and no row's range includes it.
  void find_rows(const Task& task, int32_t first, int32_t end, int32_t window, Rows& rows) const {
    const int64_t row_bytes = params_.num_kv_heads * head_bytes();
    const int64_t v_bytes = params_.tokens_per_page * row_bytes;
    const int64_t first_head_bytes = task.kv_head * head_bytes();
    const int32_t* pages = params_.page_table + task.batch_row * params_.page_table_stride;
    int32_t position = std::max(first, window);
    int32_t page_idx = position / params_.tokens_per_page;
    int32_t slot = position % params_.tokens_per_page;
    const uint8_t* page = params_.slice + pages[page_idx] * params_.page_bytes + first_head_bytes;
    rows.count = std::min(kBlock, end - first);
    for (int32_t i = 0; i < rows.count; ++i) {
      rows.k[i] = page + slot * row_bytes;
      rows.v[i] = rows.k[i] + v_bytes;
      if (first + i < position || position + 1 >= end) continue;
      ++position;
      if (++slot == params_.tokens_per_page) {
        slot = 0;
        page = params_.slice + pages[++page_idx] * params_.page_bytes + first_head_bytes;
      }
    }
  }

  void fetch(const Rows& rows, int32_t num_kv_heads) const {
    const int64_t bytes = head_bytes() * num_kv_heads;
    for (int32_t i = 0; i < rows.count; ++i) {
      for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(rows.k[i] + line, 0, 2);
    }
    for (int32_t i = 0; i < rows.count; ++i) {
      for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(rows.v[i] + line, 0, 2);
    }
  }

  int64_t head_bytes() const { return params_.head_size * core::dtype_bytes(params_.page_dtype); }

  // body(row of the scratch, token of the task, query head). Rows lie in the order (KV head, token,
  // head of the group): those of a KV head are one run, those of one token have one range.
  template <typename Body>
  void for_query_rows(const Task& task, const Body& body) const {
    int32_t row = 0;
    for (int32_t kv = task.kv_head; kv < task.kv_head + task.num_kv_heads; ++kv) {
      for (int32_t t = 0; t < task.num_tokens; ++t) {
        const int32_t head = kv * group_ + task.group_begin;
        for (int32_t h = 0; h < task.num_heads; ++h, ++row) body(row, t, head + h);
      }
    }
  }

  void load_queries(const Task& task, const Scratch& scratch) const {
    for_query_rows(task, [&](int32_t row, int32_t t, int32_t head) {
      const float* q = static_cast<const float*>(params_.q) +
                       (task.first_token + t) * params_.q_stride + head * params_.head_size;
      float* out = scratch.q + row * padded_;
      for (int32_t d = 0; d < params_.head_size; ++d) out[d] = q[d] * params_.scale;
      std::fill(scratch.acc + row * padded_, scratch.acc + (row + 1) * padded_, 0.0f);
      scratch.max[row] = -std::numeric_limits<float>::infinity();
      scratch.sum[row] = 0.0f;
    });
  }

  void stage(const Rows& rows, int32_t kv, const Scratch& scratch) const {
    if (params_.page_dtype == DType::kBF16) {
      stage_typed<uint16_t>(rows, kv, scratch, isa().stage_k_bf16, isa().stage_v_bf16);
    } else {
      stage_typed<float>(rows, kv, scratch, isa().stage_k_f32, isa().stage_v_f32);
    }
  }

  template <typename Element, typename StageK, typename StageV>
  void stage_typed(const Rows& rows, int32_t kv, const Scratch& scratch, StageK stage_k,
                   StageV stage_v) const {
    const Element* typed[kBlock];
    const auto view = [&](const uint8_t* const* bytes) {
      for (int32_t i = 0; i < rows.count; ++i) {
        typed[i] = reinterpret_cast<const Element*>(bytes[i] + kv * head_bytes());
      }
    };
    view(rows.k);
    stage_k(typed, rows.count, params_.head_size, scratch.k);
    view(rows.v);
    stage_v(typed, rows.count, params_.head_size, static_cast<int32_t>(padded_), scratch.v);
  }

  // The ranges of a KV head's rows; all KV heads of the task have the same.
  void set_ranges(const Task& task, const Scratch& scratch, int32_t block) const {
    for (int32_t t = 0; t < task.num_tokens; ++t) {
      const int32_t position = params_.token_position[task.first_token + t];
      const int32_t end = std::clamp(position + 1 - block, 0, kBlock);
      const int32_t begin = std::min(std::max(0, window_begin(position) - block), end);
      const int32_t row = t * task.num_heads;
      std::fill(scratch.begin + row, scratch.begin + row + task.num_heads, begin);
      std::fill(scratch.end + row, scratch.end + row + task.num_heads, end);
    }
  }

  void run_block(const Task& task, int32_t kv, const Scratch& scratch) const {
    const int64_t row = kv * task.rows_a_kv_head();
    AttentionBlock block;
    block.num_rows = task.rows_a_kv_head();
    block.head_size = params_.head_size;
    block.padded_head_size = static_cast<int32_t>(padded_);
    block.softcap = params_.softcap;
    block.q = scratch.q + row * padded_;
    block.k = scratch.k;
    block.v = scratch.v;
    block.begin = scratch.begin;
    block.end = scratch.end;
    block.p = scratch.p;
    block.acc = scratch.acc + row * padded_;
    block.max = scratch.max + row;
    block.sum = scratch.sum + row;
    isa().attention(block);
  }

  void store(const Task& task, const Scratch& scratch) const {
    for_query_rows(task, [&](int32_t row, int32_t t, int32_t head) {
      const float inverse = 1.0f / scratch.sum[row];
      const float* acc = scratch.acc + row * padded_;
      float* out = static_cast<float*>(params_.out) +
                   (static_cast<int64_t>(task.first_token + t) * params_.num_heads + head) *
                       params_.head_size;
      for (int32_t d = 0; d < params_.head_size; ++d) out[d] = acc[d] * inverse;
    });
  }

  const AttentionParams& params_;
  const int64_t padded_;
  const int32_t group_;
  int32_t kv_heads_a_task_ = 1;
  int32_t kv_parts_ = 1;
  int32_t parts_ = 1;
  int32_t heads_a_part_ = 1;
  int32_t tokens_a_task_ = 1;
  int32_t token_blocks_ = 0;
};

}  // namespace

// Cost       K and V of a row once a KV head and 128 query rows; 4 * head_size flops a (query head,
// position)
void run_attention(const AttentionParams& params, device::ThreadTeam& team) {
  if (params.num_tokens <= 0) return;
  const Attention attention(params, team.num_threads());
  team.parallel_for(attention.num_tasks(), [&](int32_t task, int32_t thread) {
    attention.run_task(task, team.scratch(thread));
  });
}

}  // namespace slora::kernels
