// SPDX-License-Identifier: Apache-2.0
#include "io/torch_pickle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "raw_torch.h"
#include "support.h"

namespace suture::io {
namespace {

using namespace pickle;  // NOLINT: the opcodes' names
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

PickledTensors parse(const std::string& code) { return read_torch_pickle(std::as_bytes(std::span(code)), "made.bin"); }
std::string refusal(const std::string& code) {
  return complaint([&] { parse(code); });
}

const std::string kTensor = tensor(storage("FloatStorage", "0", 6), 1, {2, 2}, {2, 1});

TEST(TorchPickle, ADictionaryOfTensors) {
  const PickledTensors found = parse(dictionary("w", kTensor));
  ASSERT_EQ(found.tensors.size(), 1u);
  const PickledTensor& w = found.tensors[0];
  EXPECT_EQ(w.name, "w");
  EXPECT_EQ(w.dtype, "F32");
  EXPECT_EQ(w.storage, "0");
  EXPECT_EQ(w.storage_elements, 6);
  EXPECT_EQ(w.offset, 1);
  EXPECT_THAT(w.shape, ElementsAre(2, 2));
  EXPECT_THAT(w.stride, ElementsAre(2, 1));
  EXPECT_THAT(found.others, IsEmpty());
}

TEST(TorchPickle, OtherValuesAreNamedNotKept) {
  EXPECT_THAT(parse(dictionary("epoch", integer(7))).others, ElementsAre("epoch"));
  EXPECT_THAT(parse(dictionary("\x1b[2J", "N")).others, ElementsAre("?[2J")) << "nothing that a terminal obeys";
}

// collections.OrderedDict([[name, tensor]]), as Python 2 reduced it.
TEST(TorchPickle, OrderedDictionaryFromPairs) {
  const std::string start = global("collections", "OrderedDict") + "(](" + text("w") + kTensor;
  const PickledTensors found = parse(start + "\x86" + "etR.");
  ASSERT_EQ(found.tensors.size(), 1u);
  EXPECT_EQ(found.tensors[0].name, "w");
  EXPECT_THAT(refusal(start + "etR."), HasSubstr("a dictionary is made of something else than pairs"));
}

TEST(TorchPickle, NamesThatAreNotAllowed) {
  const std::string arguments = "(" + text("true") + "tR.";
  EXPECT_EQ(
      refusal(global("os", "system") + arguments),
      "6: cannot read made.bin: the pickle asks for 'os.system', which is not allowed; convert it to safetensors");
  EXPECT_THAT(refusal(global("builtins", "eval") + arguments), HasSubstr("asks for 'builtins.eval'"));
  EXPECT_THAT(refusal(global("__builtin__", "getattr") + arguments), HasSubstr("'__builtin__.getattr'"));
  EXPECT_THAT(refusal(global("torch", "load") + arguments), HasSubstr("'torch.load'"));
  EXPECT_THAT(refusal(global("torch._utils", "_rebuild_qtensor") + "."), HasSubstr("'torch._utils._rebuild_qtensor'"));
  EXPECT_THAT(refusal(text("os") + text("system") + "\x93."), HasSubstr("asks for 'os.system'"));
  EXPECT_THAT(refusal(global("o\x1bs", std::string(300, 'x')) + "."), HasSubstr("asks for 'o?s.xxx"));
  // Dots may stand in either part: the whole is compared.
  EXPECT_THAT(refusal(global("collections.OrderedDict", "fromkeys") + "."), HasSubstr("OrderedDict.fromkeys"));
}

TEST(TorchPickle, OpcodesThatAreNotAllowed) {
  EXPECT_THAT(refusal("ios\nsystem\n."), HasSubstr("uses opcode 0x69 at offset 0, which is not allowed"));  // INST
  EXPECT_THAT(refusal("(cos\n"), HasSubstr("5: cannot read made.bin"));
  for (const char* op : {"o", "\x81", "\x82", "\x83", "\x84", "P", "\x92", "\x8f", "d", "l", "I", "2"})
    EXPECT_THAT(refusal(std::string("(N") + op + "."), HasSubstr("uses opcode")) << op;
}

TEST(TorchPickle, CallsOfWhatIsNotAFunction) {
  EXPECT_THAT(refusal(global("torch", "FloatStorage") + ")R."), HasSubstr("calls 'torch.FloatStorage'"));
  EXPECT_THAT(refusal(global("torch", "float32") + ")R."), HasSubstr("calls 'torch.float32'"));
  EXPECT_THAT(refusal(text("eval") + ")R."), HasSubstr("what is called is a text"));
  EXPECT_THAT(refusal(global("torch", "Size") + ")R."), HasSubstr("'torch.Size' gets 0 arguments"));
  EXPECT_THAT(refusal("K\1Nb."), HasSubstr("an object with attributes is an integer"));
}

TEST(TorchPickle, BrokenTensors) {
  const auto made = [](const std::string& value) { return refusal(dictionary("w", value)); };
  EXPECT_THAT(made(text("x") + "Q"), HasSubstr("a persistent id is a text"));
  EXPECT_THAT(made("(" + text("storage") + "tQ"), HasSubstr("a persistent id is not"));
  EXPECT_THAT(made("(" + text("storage") + text("t") + text("0") + text("cpu") + "K\1tQ"),
              HasSubstr("a storage's type is a text"));
  EXPECT_THAT(made("(" + text("storage") + global("torch", "Size") + text("0") + text("cpu") + "K\1tQ"),
              HasSubstr("a storage's type is 'torch.Size'"));
  EXPECT_THAT(made(tensor("N", 0, {1}, {1})), HasSubstr("a tensor's storage is None"));
  EXPECT_THAT(made(tensor(storage("FloatStorage", "0", 1), 0, std::vector<int64_t>(17, 1), {1})),
              HasSubstr("a tensor's shape of 17 dimensions (limit 16)"));
  EXPECT_THAT(made(global("torch._utils", "_rebuild_parameter") + "(NNNtR"), HasSubstr("a parameter's data is None"));
  EXPECT_THAT(made(global("torch._utils", "_rebuild_tensor_v2") + "(" + storage("FloatStorage", "0", 1) + "K\0)" + ")" +
                   "NN}" + text("neg") + "\x88" + "stR"),
              HasSubstr("5: cannot read"));
}

TEST(TorchPickle, NegatedViewsAreRefused) {
  const std::string bits = "}" + text("neg") + "\x88s";
  EXPECT_THAT(refusal(dictionary("w", global("torch._utils", "_rebuild_tensor_v2") + "(" +
                                          storage("FloatStorage", "0", 1) + integer(0) + "))NN" + bits + "tR")),
              HasSubstr("has a tensor with a conjugate or negative bit, which is not allowed"));
}

TEST(TorchPickle, TopLevelMustBeADictionary) {
  EXPECT_THAT(refusal("]."), HasSubstr("6: cannot read made.bin: it holds a list, expected a dictionary"));
  EXPECT_THAT(refusal(kTensor + "."), HasSubstr("it holds a tensor"));
  EXPECT_THAT(refusal("}K\1Ns."), HasSubstr("a key is an integer, expected a text"));
  EXPECT_THAT(refusal("}(" + text("w") + "N" + text("w") + "Nu."), HasSubstr("duplicate key 'w'"));
}

TEST(TorchPickle, StackAndMemoAreChecked) {
  for (const char* code : {".", "0", "t", "u", "s", "e", "a", "1", "R", "Q", "b", "\x93", "\x85", "\x94", "(0.", "(."})
    EXPECT_THAT(refusal(code), HasSubstr("5: cannot read")) << code;
  EXPECT_THAT(refusal("h\5."), HasSubstr("memo entry 5 is not there"));
  EXPECT_THAT(refusal("K\1(Ns."), HasSubstr("empty stack")) << "nothing is taken from below a mark";
  EXPECT_THAT(refusal("}(Nu."), HasSubstr("a key without a value"));
  EXPECT_THAT(refusal("K\1Na."), HasSubstr("what gets members is an integer"));
  EXPECT_THAT(refusal("\x80\6."), HasSubstr("protocol 6"));
}

TEST(TorchPickle, LengthsAreCheckedBeforeTheyAreUsed) {
  for (const char* code : {"X\xff\xff\xff\xff.", "\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "B\xff\xff\xff\xff.",
                           "\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "\x8a\x09.", "G12", "J1",
                           "\x8c\x09"
                           "ab",
                           "cos"})
    EXPECT_THAT(refusal(code), HasSubstr("truncated")) << code;
  EXPECT_THAT(refusal(std::string("r\xff\xff\xff\xff.")), HasSubstr("empty stack"));
  EXPECT_THAT(refusal(std::string("\x8b\xff\xff\xff\x7f", 5)), HasSubstr("uses opcode 0x8b"));  // LONG4
  EXPECT_THAT(parse("}r\xff\xff\xff\xff.").others, IsEmpty()) << "a large memo index costs one entry";
}

TEST(TorchPickle, EveryTruncationIsRefused) {
  const std::string code = dictionary("w", kTensor);
  for (size_t size = 0; size < code.size(); ++size)
    EXPECT_THAT(refusal(code.substr(0, size)), HasSubstr("5: cannot read")) << size;
}

// Depth costs no stack: a million lists in each other, and one that holds itself.
TEST(TorchPickle, DepthIsFree) {
  std::string code = "\x80\x02}" + text("deep") + "N";
  code.append(1'000'000, '\x85');
  EXPECT_THAT(parse(code + "s.").others, ElementsAre("deep"));
  EXPECT_THAT(parse("}" + text("self") + "]q\1h\1as.").others, ElementsAre("self"));
  EXPECT_THAT(parse("}q\1" + text("self") + "h\1s.").others, ElementsAre("self"));
}

// Each list holds the one before it twice, 40 times over: 2^40 leaves, if anybody followed them.
TEST(TorchPickle, NestedMemoBomb) {
  std::string code = "}" + text("bomb") + "]q\1";
  for (int i = 0; i < 40; ++i) code += "0](h\1h\1eq\1";
  EXPECT_THAT(parse(code + "s.").others, ElementsAre("bomb"));
}

TEST(TorchPickle, CountsAreBounded) {
  EXPECT_THAT(refusal(std::string(5'000'000, 'N') + "."), HasSubstr("more than 4000000 values"));
  EXPECT_THAT(refusal(std::string(5'000'000, '(') + "."), HasSubstr("more than 4000000 marks"));
  // One list of 200,000 pairs, made into a dictionary again and again.
  std::string code =
      "N"
      "N\x86q\2"
      "0](";
  for (int i = 0; i < 200'000; ++i) code += "h\2";
  code += "e\x85q\1" + global("collections", "OrderedDict") + "q\3";
  for (int i = 0; i < 100; ++i) code += "h\3h\1R";
  EXPECT_THAT(refusal(code + "."), HasSubstr("members of its containers"));
}

}  // namespace
}  // namespace suture::io
