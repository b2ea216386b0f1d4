// A status and a line of text, as bytes and back.
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

namespace {

std::vector<uint8_t> written(const RankAnswer& answer) {
  MessageWriter writer;
  writer.put(answer.status);
  writer.put(answer.message);
  writer.put(answer.value);
  return writer.take();
}

std::vector<RankAnswer> read(const std::vector<std::vector<uint8_t>>& messages) {
  std::vector<RankAnswer> answers;
  for (size_t rank = 0; rank < messages.size(); ++rank) {
    MessageReader reader(messages[rank]);
    RankAnswer& answer = answers.emplace_back();
    reader.get(answer.status);
    reader.get(answer.message);
    reader.get(answer.value);
    reader.expect_end();
    if (rank > 0 && answer.status != core::Status::kOk)
      answer.message = core::str_cat("rank ", rank, " of ", messages.size(), ": ", answer.message);
  }
  return answers;
}

}  // namespace

std::vector<RankAnswer> exchange_answers(comm::Group& group, const RankAnswer& own) {
  return read(group.all_gather_messages(written(own)));
}

std::vector<RankAnswer> exchange_answers(comm::HostLink& link, const RankAnswer& own) {
  return read(link.all_gather_messages(written(own), comm::Patience::kWhileAlive));
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
