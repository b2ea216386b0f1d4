#include "rank_answer.hpp"

#include "message.hpp"

namespace slora::engine {

void RankAnswer::fail(core::Status why, const char* words) noexcept {
  status = why;
  try {
    message = words;
  } catch (const std::bad_alloc&) {
    message.clear();
  }
}

std::vector<RankAnswer> exchange_answers(comm::Group& group, const RankAnswer& own) {
  MessageWriter writer;
  writer.put(own.status);
  writer.put(own.message);
  writer.put(own.value);
  const std::vector<std::vector<uint8_t>> messages = group.all_gather_messages(writer.take());
  std::vector<RankAnswer> answers;
  for (size_t rank = 0; rank < messages.size(); ++rank) {
    MessageReader reader(messages[rank]);
    RankAnswer& answer = answers.emplace_back();
    reader.get(answer.status);
    reader.get(answer.message);
    reader.get(answer.value);
    reader.expect_end();
    if (rank > 0 && answer.status != core::Status::kOk)
      answer.message = core::str_cat("rank ", rank, " of ", group.size(), ": ", answer.message);
  }
  return answers;
}

const RankAnswer* first_failure(const std::vector<RankAnswer>& answers) {
  for (const RankAnswer& answer : answers) {
    if (answer.status != core::Status::kOk) return &answer;
  }
  return nullptr;
}

std::vector<RankAnswer> agree(comm::Group& group, const RankAnswer& own) {
  std::vector<RankAnswer> answers = exchange_answers(group, own);
  if (const RankAnswer* failed = first_failure(answers)) failed->raise();
  return answers;
}

}  // namespace slora::engine
