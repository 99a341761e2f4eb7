// SPDX-License-Identifier: Apache-2.0
// What a config.json may say, and by which name everything else is refused.
#include "model/config.h"

#include <gtest/gtest.h>

#include "support/errors.h"
#include "support/fixtures.h"

namespace suture::model {
namespace {

using test::error_of;

Json config_of(const std::string& model) { return read_json(fixtures::root() / "models" / model / "config.json"); }

template <class Change>
Error refusal(const std::string& model, Change&& change) {
  Json json = config_of(model);
  change(json);
  return error_of([&] { read_config(json, "config.json"); });
}

TEST(Config, ReadsTheNumbersOfEveryFamily) {
  const ModelConfig llama = read_config(config_of("llama-gqa"), "config.json");
  EXPECT_EQ(llama.family->name, "llama");
  EXPECT_EQ(llama.layers, 3);
  EXPECT_EQ(llama.width, 32);
  EXPECT_EQ(llama.heads, 4);
  EXPECT_EQ(llama.kv_heads, 2);
  EXPECT_EQ(llama.group(), 2);
  EXPECT_EQ(llama.head_dim, 8);
  EXPECT_EQ(llama.hidden, 40);
  EXPECT_EQ(llama.vocab, 112);
  EXPECT_EQ(llama.context, 2048);
  EXPECT_EQ(llama.eps, 1e-5);
  EXPECT_EQ(llama.activation, Activation::kSilu);
  EXPECT_FALSE(llama.tied || llama.attention_bias || llama.mlp_bias);
  const ModelConfig gpt2 = read_config(config_of("gpt2"), "config.json");
  EXPECT_EQ(gpt2.head_dim, 8);
  EXPECT_EQ(gpt2.kv_heads, 2);
  EXPECT_EQ(gpt2.hidden, 48);
  EXPECT_EQ(gpt2.context, 1200);
  EXPECT_EQ(gpt2.activation, Activation::kGeluTanh);
  EXPECT_TRUE(gpt2.tied && gpt2.attention_bias && gpt2.mlp_bias);
  EXPECT_EQ(read_config(config_of("mistral"), "config.json").eps, 1e-6);
}

TEST(Config, AbsentAndNullAreTheSame) {
  for (const std::string model : {"llama-gqa", "gpt2"})
    for (const std::string key :
         {"num_key_value_heads", "head_dim", "n_inner", "rope_parameters", "tie_word_embeddings", "attention_bias"}) {
      Json null = config_of(model), absent = null;
      null[key] = nullptr;
      absent.erase(key);
      const ModelConfig a = read_config(null, "c"), b = read_config(absent, "c");
      EXPECT_EQ(std::tie(a.kv_heads, a.head_dim, a.hidden, a.tied, a.attention_bias),
                std::tie(b.kv_heads, b.head_dim, b.hidden, b.tied, b.attention_bias))
          << key;
    }
  Json json = config_of("llama-gqa");
  json["num_key_value_heads"] = nullptr;
  EXPECT_EQ(read_config(json, "c").kv_heads, 4);  // as many as query heads
  json = config_of("gpt2");
  json["n_inner"] = nullptr;
  EXPECT_EQ(read_config(json, "c").hidden, 64);  // four times the width
}

TEST(Config, ReadsBothSpellingsOfRotaryPositions) {
  const Rope fresh = read_config(config_of("llama-rope-llama3"), "c").ropes[0],
             old = read_config(config_of("llama-old-config"), "c").ropes[0];
  EXPECT_EQ(fresh.kind, RopeKind::kLlama3);
  EXPECT_EQ(fresh.factor, 8);
  EXPECT_EQ(fresh.original_context, 64);
  EXPECT_EQ(fresh.theta, 5000);
  EXPECT_EQ(std::tie(old.kind, old.theta, old.factor, old.low_freq_factor, old.high_freq_factor, old.original_context),
            std::tie(fresh.kind, fresh.theta, fresh.factor, fresh.low_freq_factor, fresh.high_freq_factor,
                     fresh.original_context));
  const Rope linear = read_config(config_of("llama-rope-linear"), "c").ropes[0];
  EXPECT_EQ(linear.kind, RopeKind::kLinear);
  EXPECT_EQ(linear.factor, 4);
  Json json = config_of("llama-gqa");
  json.erase("rope_parameters");
  json["rope_theta"] = 123;
  json["rope_scaling"] = {{"type", "linear"}, {"factor", 2}};  // the oldest spelling of the kind
  const Rope oldest = read_config(json, "c").ropes[0];
  EXPECT_EQ(oldest.kind, RopeKind::kLinear);
  EXPECT_EQ(oldest.theta, 123);
}

TEST(Config, ReadsBothSpellingsOfTheDtype) {
  EXPECT_EQ(read_config(config_of("llama-gqa"), "c").dtype, "float32");
  EXPECT_EQ(read_config(config_of("llama-old-config"), "c").dtype, "float32");
}

TEST(Config, RefusesAModelTypeItDoesNotKnow) {
  const Error unknown = refusal("llama-gqa", [](Json& j) { j["model_type"] = "mamba"; });
  EXPECT_EQ(unknown.code(), Code::kModel);
  EXPECT_EQ(unknown.what(),
            "cannot load config.json: model type 'mamba' is not supported; supported are " + family_types());
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j.erase("model_type"); }).what(),
               "cannot read config.json: key 'model_type' is missing");
  EXPECT_STREQ(error_of([] { read_config(Json::array(), "config.json"); }).what(),
               "cannot read config.json: must be a JSON object");
}

TEST(Config, NamesAMissingKey) {
  for (const std::string key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size",
                                "max_position_embeddings", "vocab_size"}) {
    const Error error = refusal("llama-gqa", [&](Json& j) { j.erase(key); });
    EXPECT_EQ(error.code(), Code::kModel);
    EXPECT_EQ(error.what(), "cannot read config.json: key '" + key + "' is missing");
    EXPECT_EQ(refusal("llama-gqa", [&](Json& j) { j[key] = nullptr; }).what(),
              "cannot read config.json: key '" + key + "' is missing");
  }
}

TEST(Config, NamesAValueOfTheWrongKind) {
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["hidden_size"] = "32"; }).what(),
               "cannot read config.json: 'hidden_size' must be a number, got \"32\"");
  for (const Json& wrong : {Json(-3), Json(2.5)})
    EXPECT_EQ(refusal("llama-gqa", [&](Json& j) { j["hidden_size"] = wrong; }).what(),
              "cannot read config.json: 'hidden_size' must be a whole number, got " + wrong.dump());
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["hidden_size"] = 0; }).what(),
               "cannot read config.json: 'hidden_size' must be a positive integer, got 0");
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["mlp_bias"] = 1; }).what(),
               "cannot read config.json: 'mlp_bias' must be true or false, got 1");
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["hidden_act"] = "swiglu"; }).what(),
               "cannot load config.json: activation 'swiglu' is not supported");
}

TEST(Config, RefusesShapesThatDoNotFit) {
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["num_key_value_heads"] = 3; }).what(),
               "cannot load config.json: 4 query heads are not a multiple of 3 key/value heads");
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["head_dim"] = 7; }).what(),
               "cannot load config.json: rotary positions need an even head width, got 7 of 7");
}

TEST(Config, RefusesKeysThatChangeTheComputation) {
  const std::vector<std::pair<std::string, Json>> foreign = {{"sliding_window", 4096},
                                                             {"attn_logit_softcapping", 50.0},
                                                             {"final_logit_softcapping", 30.0},
                                                             {"partial_rotary_factor", 0.5},
                                                             {"num_local_experts", 8},
                                                             {"num_experts", 8},
                                                             {"qk_layernorm", true},
                                                             {"use_qk_norm", true},
                                                             {"embedding_multiplier", 12.0},
                                                             {"residual_multiplier", 0.22},
                                                             {"logits_scaling", 8.0},
                                                             {"attention_multiplier", 0.1},
                                                             {"alibi", true},
                                                             {"is_encoder_decoder", true},
                                                             {"no_rope_layers", {0, 1}},
                                                             {"layer_types", {"full_attention", "sliding_attention"}}};
  for (const auto& [key, value] : foreign) {
    const Error error = refusal("llama-gqa", [&](Json& j) { j[key] = value; });
    EXPECT_EQ(error.code(), Code::kModel) << key;
    EXPECT_EQ(error.what(), "cannot load config.json: '" + key + "' = " + value.dump() +
                                " changes the computation and is not supported");
  }
  EXPECT_EQ(refusal("gpt2", [](Json& j) { j["scale_attn_by_inverse_layer_idx"] = true; }).code(), Code::kModel);
  EXPECT_EQ(refusal("gpt2", [](Json& j) { j["scale_attn_weights"] = false; }).code(), Code::kModel);
}

TEST(Config, AcceptsTheirNeutralValues) {
  const std::vector<std::pair<std::string, Json>> neutral = {{"sliding_window", nullptr},
                                                             {"final_logit_softcapping", nullptr},
                                                             {"partial_rotary_factor", 1.0},
                                                             {"num_experts", 0},
                                                             {"embedding_multiplier", 1.0},
                                                             {"alibi", false},
                                                             {"layer_types", {"full_attention", "full_attention"}}};
  for (const auto& [key, value] : neutral)
    EXPECT_EQ(refusal("llama-gqa", [&](Json& j) { j[key] = value; }).code(), Code::kDone) << key;
  EXPECT_EQ(refusal("llama-gqa",
                    [](Json& j) {
                      j["sliding_window"] = 4096;
                      j["use_sliding_window"] = false;
                    })
                .code(),
            Code::kDone);
}

TEST(Config, RefusesQuantisedCheckpoints) {
  const Error error = refusal("llama-gqa", [](Json& j) { j["quantization_config"] = {{"quant_method", "gptq"}}; });
  EXPECT_EQ(error.code(), Code::kModel);
  EXPECT_STREQ(
      error.what(),
      "cannot load config.json: quantised checkpoints (gptq) are not supported; use the model it was made from");
}

TEST(Config, ReadsTheLanguagePartOfALargerModel) {
  Json json = config_of("gemma3"),
       whole = {{"model_type", "gemma3"}, {"text_config", json}, {"vision_config", Json::object()}};
  json["tie_word_embeddings"] = false;
  whole["text_config"]["tie_word_embeddings"] = false;  // only there
  const ModelConfig a = read_config(json, "c"), b = read_config(whole, "c");
  EXPECT_EQ(std::tie(a.family, a.layers, a.width, a.tied), std::tie(b.family, b.layers, b.width, b.tied));
  EXPECT_FALSE(b.tied);
}

TEST(Config, RefusesOtherKindsOfRotaryScaling) {
  for (const std::string key : {"rope_parameters", "rope_scaling"}) {
    const Error error = refusal("llama-gqa", [&](Json& j) {
      j.erase("rope_parameters");
      j[key] = {{"rope_type", "mrope"}, {"factor", 4.0}};
    });
    EXPECT_STREQ(error.what(),
                 "cannot load config.json: rope type 'mrope' is not supported; supported are default, linear, dynamic, "
                 "yarn, llama3, longrope");
  }
  EXPECT_STREQ(refusal("llama-rope-llama3", [](Json& j) { j["rope_parameters"].erase("low_freq_factor"); }).what(),
               "cannot read config.json rope_parameters: key 'low_freq_factor' is missing");
  EXPECT_STREQ(refusal("llama-gqa", [](Json& j) { j["rope_parameters"]["partial_rotary_factor"] = 0.5; }).what(),
               "cannot load config.json: 'partial_rotary_factor' = 0.5 changes the computation and is not supported");
}

TEST(Config, AMistralThatDoesNotMentionItsWindowHasOne) {
  const auto windows = [](const Json& json) {
    std::vector<int64_t> all;
    for (const LayerConfig& layer : read_config(json, "c").layer) all.push_back(layer.window);
    return all;
  };
  Json json = config_of("mistral");
  EXPECT_EQ(windows(json), (std::vector<int64_t>{0, 0, 0}));  // null: none
  json["sliding_window"] = 16;
  EXPECT_EQ(windows(json), (std::vector<int64_t>{16, 16, 16}));
  json.erase("sliding_window");
  EXPECT_EQ(windows(json), (std::vector<int64_t>{4096, 4096, 4096}));
  EXPECT_EQ(refusal("mistral", [](Json& j) { j["mlp_bias"] = true; }).code(), Code::kModel);
}

}  // namespace
}  // namespace suture::model
