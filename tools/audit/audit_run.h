// SPDX-License-Identifier: Apache-2.0
// The long part of an audit: subjects x prompts -> labelled answers and measures, as rows of a journal.
//
// Rows: "<subject>/<suite>/<prompt>" an answer; "<subject>/neutral" perplexity and KL; "<subject>/facts" the facts'
// states; "<subject>/done" ends a subject. What the journal has is not done again.
#pragma once
#include <vector>

#include "audit/journal.h"
#include "audit/summary.h"
#include "steps/facts.h"
#include "tools/audit/audit_config.h"

namespace suture::cli {

struct Suites {
  audit::Suite harmful, harmless;
  const audit::Suite& of(audit::SuiteKind kind) const {
    return kind == audit::SuiteKind::kHarmful ? harmful : harmless;
  }
};
Suites read_suites(const SuiteConfig& config);

steps::Facts chosen_facts(const AuditConfig& config);  // none without a file

// A checkpoint and the subjects that speak through it, in the order of the configuration, which must outlive it.
struct Speakers {
  model::Checkpoint checkpoint;  // moved from when its weights are loaded
  Json record;                   // model_record()
  std::vector<const SubjectConfig*> subjects;
};

// Every checkpoint once, in the order in which the subjects name them. Reads all weights once, for the digests.
std::vector<Speakers> open_checkpoints(const std::vector<SubjectConfig>& subjects);
Json records_of(const std::vector<Speakers>& all);  // {<subject>: record}

// Loads one checkpoint after the other: no more than one lies in memory, a guide's harmful model aside.
void ask_subjects(const AuditConfig& config, const Suites& suites, std::vector<Speakers> all,
                  const model::LoadOptions& options, audit::Journal& journal);

}  // namespace suture::cli
