// The loop mirrors what SLoRA.Scheduling does, without its policies: admit, plan, submit, collect,
// retire.
#include "support/runner.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

namespace slora::test {
namespace {

struct Live {
  size_t request_idx;
  uint64_t id;
  int32_t num_prompt;
  int32_t computed = 0;
  int32_t history;  // prompt and samples, those in flight counted
  int32_t target;   // history length at the end
  int32_t in_flight = 0;
  int32_t collected = 0;  // samples collected
};

class Runner {
 public:
  Runner(slora_engine* engine, const std::vector<Request>& requests, const RunOptions& options)
      : engine_(engine),
        requests_(requests),
        options_(options),
        geometry_(geometry(engine)),
        completions_(requests.size()) {}

  std::vector<Completion> run() {
    while (next_ < requests_.size() || !live_.empty()) {
      admit();
      const bool submitted = step();
      // Run-ahead: with two steps in flight, or now and then with one, collect.
      while (!flights_.empty() && (!submitted || flights_.size() >= 2 || !chance(0.5))) {
        collect();
        if (submitted) break;
      }
      retire();
    }
    while (!flights_.empty()) collect();
    return std::move(completions_);
  }

  RunStatistics statistics;

 private:
  struct Flight {
    std::vector<uint64_t> ids;
  };

  bool chance(double probability) {
    return options_.chaos &&
           std::uniform_real_distribution<double>(0, 1)(*options_.chaos) < probability;
  }

  int32_t below(int32_t limit) {
    return static_cast<int32_t>((*options_.chaos)() % static_cast<uint32_t>(limit));
  }

  void admit() {
    while (next_ < requests_.size() && live_.size() < geometry_.max_sequences &&
           !(options_.chaos && chance(0.3) && !live_.empty())) {
      const Request& request = requests_[next_];
      slora_sequence_options sequence = SLORA_SEQUENCE_OPTIONS_INIT;
      sequence.sequence_id = next_id();
      sequence.prompt_tokens = request.prompt.data();
      sequence.num_prompt_tokens = static_cast<uint32_t>(request.prompt.size());
      sequence.adapters = request.adapters.data();
      sequence.num_adapters = static_cast<uint32_t>(request.adapters.size());
      sequence.sampling = &request.sampling;
      slora_error error = SLORA_ERROR_INIT;
      const int32_t status = slora_sequence_create(engine_, &sequence, &error);
      expect_done(status, error);
      if (status == SLORA_DEFERRED_SLOTS) return;
      Live live{};
      live.request_idx = next_++;
      live.id = sequence.sequence_id;
      live.num_prompt = live.history = static_cast<int32_t>(request.prompt.size());
      live.target = live.history + request.num_new_tokens;
      live_.push_back(live);
    }
  }

  static uint64_t next_id() {
    static uint64_t id = 0;
    return ++id;
  }

  // Nothing left to compute or sample.
  static bool is_done(const Live& live) {
    return live.history == live.target &&
           live.computed >= live.target - (live.target > live.num_prompt);
  }

  bool step() {
    std::vector<size_t> order;
    for (size_t i = 0; i < live_.size(); ++i) {
      if (!is_done(live_[i])) order.push_back(i);
    }
    if (order.empty()) return false;
    if (options_.chaos) {
      std::shuffle(order.begin(), order.end(), *options_.chaos);
      order.resize(static_cast<size_t>(1 + below(static_cast<int32_t>(order.size()))));
    }
    std::vector<slora_plan_row> rows;
    int32_t budget = static_cast<int32_t>(geometry_.max_batch_tokens);
    for (const size_t i : order) {
      Live& live = live_[i];
      if (budget == 0 || rows.size() == geometry_.max_batch_rows) break;
      const int32_t left = live.history - live.computed;
      int32_t count = std::min(left, budget);
      if (count > 1 && chance(0.6)) count = 1 + below(count);
      if (count < left && live.computed + count < live.num_prompt) ++statistics.chunked_prefills;
      slora_plan_row row{};
      row.sequence_id = live.id;
      row.num_tokens = static_cast<uint32_t>(count);
      row.first_token = static_cast<uint32_t>(live.computed);
      // A recomputed part may cross from prompt into output: samples already made are not made
      // again.
      if (count == left && live.history < live.target) row.flags |= SLORA_ROW_SAMPLE;
      if (requests_[live.request_idx].wants_logits && live.computed < live.num_prompt)
        row.flags |= SLORA_ROW_LOGITS;
      rows.push_back(row);
      budget -= count;
    }
    slora_plan plan = SLORA_PLAN_INIT;
    plan.rows = rows.data();
    plan.num_rows = static_cast<uint32_t>(rows.size());
    slora_error error = SLORA_ERROR_INIT;
    const int32_t status = slora_engine_submit(engine_, &plan, &error);
    expect_done(status, error);
    if (status != SLORA_OK) {
      make_room(status, rows);
      return false;
    }
    if (!flights_.empty()) ++statistics.run_ahead_steps;
    ++statistics.steps;
    Flight flight;
    for (const slora_plan_row& row : rows) {
      Live& live = find(row.sequence_id);
      live.computed += static_cast<int32_t>(row.num_tokens);
      if (row.flags & SLORA_ROW_SAMPLE) ++live.history;
      ++live.in_flight;
      flight.ids.push_back(row.sequence_id);
    }
    flights_.push_back(flight);
    if (chance(options_.preempt_probability)) preempt_one(false);
    return true;
  }

  // The engine is out of pages: let it finish what it has, then take the pages of someone who is
  // not in this plan, or of anyone.
  void make_room(int32_t status, const std::vector<slora_plan_row>& rows) {
    ++(status == SLORA_DEFERRED_ADAPTER ? statistics.deferred_adapters : statistics.deferred_pages);
    const bool was_waiting = !flights_.empty();
    while (!flights_.empty()) collect();
    if (was_waiting) return;
    (void)rows;
    preempt_one(true);
  }

  void preempt_one(bool must) {
    std::vector<Live*> candidates;
    for (Live& live : live_) {
      if (live.in_flight == 0 && live.computed > 0 && !is_done(live)) candidates.push_back(&live);
    }
    if (candidates.empty()) {
      if (must && !options_.chaos)
        throw std::runtime_error("the pool is too small for one sequence");
      return;
    }
    Live& live =
        *candidates[options_.chaos
                        ? static_cast<size_t>(below(static_cast<int32_t>(candidates.size())))
                        : candidates.size() - 1];
    slora_error error = SLORA_ERROR_INIT;
    expect_done(slora_sequence_preempt(engine_, live.id, &error), error);
    live.computed = 0;
    completions_[live.request_idx].logits.clear();
    ++statistics.preemptions;
  }

  void collect() {
    const size_t most_rows = flights_.front().ids.size();
    rows_.resize(most_rows);
    logprobs_.resize(most_rows * geometry_.max_logprobs);
    bool wants_logits = false;
    for (const uint64_t id : flights_.front().ids)
      wants_logits |= requests_[find(id).request_idx].wants_logits;
    if (wants_logits) logits_.resize(size_t{geometry_.max_batch_tokens} * geometry_.vocab_size);
    slora_step_result result = SLORA_STEP_RESULT_INIT;
    result.rows = rows_.data();
    result.rows_capacity = rows_.size();
    result.logprobs = logprobs_.data();
    result.logprobs_capacity = logprobs_.size();
    result.logits = wants_logits ? logits_.data() : nullptr;
    result.logits_capacity = wants_logits ? logits_.size() : 0;
    slora_error error = SLORA_ERROR_INIT;
    expect_done(slora_engine_collect(engine_, &result, &error), error);
    flights_.pop_front();
    for (uint32_t i = 0; i < result.num_rows; ++i) take(result.rows[i], result);
  }

  void take(const slora_row_result& row, const slora_step_result& result) {
    Live& live = find(row.sequence_id);
    --live.in_flight;
    Completion& completion = completions_[live.request_idx];
    if (row.num_logit_tokens > 0) {
      const float* begin = result.logits + row.logits_offset;
      const size_t room = size_t(live.num_prompt) * geometry_.vocab_size - completion.logits.size();
      const size_t count = std::min(room, size_t{row.num_logit_tokens} * geometry_.vocab_size);
      completion.logits.insert(completion.logits.end(), begin, begin + count);
    }
    if (!(row.flags & SLORA_ROW_RESULT_SAMPLED)) return;
    completion.tokens.push_back(row.token_id);
    completion.logprobs.push_back(row.logprob);
    const slora_token_logprob* top = result.logprobs + row.logprobs_offset;
    completion.top.emplace_back(top, top + row.num_logprobs);
    ++live.collected;
  }

  void retire() {
    for (size_t i = 0; i < live_.size();) {
      Live& live = live_[i];
      if (!is_done(live) || live.in_flight > 0) {
        ++i;
        continue;
      }
      slora_error error = SLORA_ERROR_INIT;
      expect_done(slora_sequence_release(engine_, live.id, &error), error);
      live_.erase(live_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  Live& find(uint64_t id) {
    for (Live& live : live_) {
      if (live.id == id) return live;
    }
    throw std::logic_error("a result of an unknown sequence");
  }

  slora_engine* engine_;
  const std::vector<Request>& requests_;
  RunOptions options_;
  slora_engine_geometry geometry_;
  std::vector<Completion> completions_;
  std::vector<Live> live_;
  std::deque<Flight> flights_;
  size_t next_ = 0;
  std::vector<slora_row_result> rows_;
  std::vector<slora_token_logprob> logprobs_;
  std::vector<float> logits_;
};

bool equal_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

bool same_story(const Completion& a, const Completion& b) {
  if (!tests_cuda()) return a == b;
  constexpr float kNear = 1e-3f;
  if (a.logits.size() != b.logits.size() || a.tokens.size() != b.tokens.size()) return false;
  for (size_t i = 0; i < a.logits.size(); ++i)
    if (!(std::fabs(a.logits[i] - b.logits[i]) <= kNear)) return false;
  for (size_t t = 0; t < a.tokens.size(); ++t) {
    if (!(std::fabs(a.logprobs[t] - b.logprobs[t]) <= kNear)) return false;
    if (a.tokens[t] != b.tokens[t]) return true;
  }
  return true;
}

bool Completion::operator==(const Completion& other) const {
  if (tokens != other.tokens || !equal_bits(logprobs, other.logprobs) ||
      !equal_bits(logits, other.logits))
    return false;
  for (size_t i = 0; i < top.size(); ++i) {
    if (top[i].size() != other.top[i].size()) return false;
    if (!top[i].empty() && std::memcmp(top[i].data(), other.top[i].data(),
                                       top[i].size() * sizeof(slora_token_logprob)) != 0) {
      return false;
    }
  }
  return true;
}

std::vector<Completion> run_requests(slora_engine* engine, const std::vector<Request>& requests,
                                     const RunOptions& options, RunStatistics* statistics) {
  Runner runner(engine, requests, options);
  std::vector<Completion> completions = runner.run();
  if (statistics) *statistics = runner.statistics;
  return completions;
}

}  // namespace slora::test
