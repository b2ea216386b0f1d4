// The ranks after the first: no scheduler, no caller. What rank 0 tells is done, in that order.
#include <future>
#include <map>

#include "command.hpp"
#include "packed_adapter.hpp"
#include "rank_answer.hpp"
#include "slora/core/log.hpp"
#include "slora/engine/ranks.hpp"

namespace slora::engine {
namespace {

using core::Status;

class Follower {
 public:
  Follower(Engine& engine, comm::Group& group) : engine_(engine), group_(group) {}

  void run() {
    for (;;) {
      group_.await_message(message_, 0);
      const Command command = decode(message_);
      engine_.settle(command.settled);
      if (command.kind == CommandKind::kCloseEngine) return;
      carry_out(command);
    }
  }

 private:
  // An adapter that is being read and packed beside the loop, since that takes long.
  struct Load {
    AdapterOptions options;
    RankAnswer answer;
    std::unique_ptr<PackedAdapter> packed;
    std::future<void> done;
  };

  void carry_out(const Command& command) {
    switch (command.kind) {
      case CommandKind::kCreateSequence:
        return expect_done(command, engine_.create_sequence(command.sequence));
      case CommandKind::kReleaseSequence:
        return engine_.release_sequence(command.id);
      case CommandKind::kPreemptSequence:
        return engine_.preempt_sequence(command.id);
      case CommandKind::kSubmit:
        expect_same_pool(command);
        return expect_done(command, engine_.submit(command.rows, command.prefetch));
      case CommandKind::kCollect:
        return collect();
      case CommandKind::kBeginLoad:
        return begin_load(command);
      case CommandKind::kEndLoad:
        return end_load(command);
      case CommandKind::kUnload:
        return engine_.unload_adapter(adapter(command.id));
      case CommandKind::kSetPinned:
        return engine_.set_pinned(*adapter(command.id), command.is_pinned);
      case CommandKind::kMakeRoom:
        return engine_.make_room(command.room);
      case CommandKind::kShutdown:
        return engine_.shutdown();
      default:
        disagree(command, "has an engine open");
    }
  }

  // Names both ranks' view of a command that this one cannot follow.
  [[noreturn]] void disagree(const Command& command, const std::string& own) const {
    core::fail(Status::kInternal, "rank 0 could ", command_name(command.kind), ", but rank ",
               group_.tp_rank(), " of ", group_.size(), " ", own);
  }

  void expect_done(const Command& command, Status status) const {
    if (status == Status::kOk) return;
    disagree(command, core::str_cat("answered status ", static_cast<int32_t>(status)));
  }

  void expect_same_pool(const Command& command) const {
    const uint32_t own = engine_.counters().free_pages;
    if (own == command.free_pages) return;
    disagree(command,
             core::str_cat("has ", own, " free pages where rank 0 has ", command.free_pages));
  }

  std::shared_ptr<adapter::Adapter> adapter(uint64_t adapter_id) const {
    std::shared_ptr<adapter::Adapter> found = engine_.find_adapter(adapter_id);
    if (!found) {
      core::fail(Status::kInternal, "rank ", group_.tp_rank(), " of ", group_.size(),
                 " has no adapter ", adapter_id, ", which rank 0 has");
    }
    return found;
  }

  void collect() {
    StepNeeds needs{};
    if (!engine_.await_oldest(&needs)) {
      core::fail(Status::kInternal, "rank ", group_.tp_rank(), " of ", group_.size(),
                 " has no step in flight where rank 0 collects one");
    }
    engine_.collect(view_);
    engine_.finish_collect();
    engine_.take_residency_events(nullptr, 0);
  }

  void begin_load(const Command& command) {
    Load& load = loads_[command.ticket];
    load.options = command.adapter;
    load.done = std::async(std::launch::async, [this, &load] {
      load.answer.note([&] { load.packed = engine_.pack_adapter(load.options, nullptr); });
    });
  }

  void end_load(const Command& command) {
    const auto entry = loads_.find(command.ticket);
    if (entry == loads_.end()) disagree(command, "has begun no such load");
    Load& load = entry->second;
    load.done.get();
    const std::vector<RankAnswer> answers = exchange_answers(group_, load.answer);
    if (!first_failure(answers)) {
      const auto loaded = engine_.register_adapter(load.options, std::move(*load.packed));
      if (loaded->id != command.id)
        disagree(command, core::str_cat("has it as adapter ", loaded->id, ", not ", command.id));
    }
    loads_.erase(entry);
  }

  Engine& engine_;
  comm::Group& group_;
  std::vector<uint8_t> message_;
  StepView view_;
  std::map<uint64_t, Load> loads_;  // by ticket; loads that are not over at the end are waited for
};

}  // namespace

void follow(Engine& engine, comm::Group& group) {
  Follower follower(engine, group);
  RankAnswer answer;
  answer.note([&] { follower.run(); });
  if (answer.status == Status::kOk) return;
  engine.give_up(answer.status, answer.message);
  answer.raise();
}

}  // namespace slora::engine
