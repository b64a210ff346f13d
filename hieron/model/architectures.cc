#include "hieron/model/architectures.h"

namespace hieron {

namespace {

using enum Role;

// Embedding, head and norms, as nearly every decoder since Llama names them.
constexpr RoleRule kDecoder[] = {
    {"embed_tokens", kEmbedding},
    {"lm_head", kHead},
    {"norm", kNorm},
    {"{layer}.input_layernorm", kNorm},
    {"{layer}.post_attention_layernorm", kNorm},
    {"{layer}.pre_feedforward_layernorm", kNorm},
    {"{layer}.post_feedforward_layernorm", kNorm},
    {"{layer}.self_attn.q_norm", kNorm},
    {"{layer}.self_attn.k_norm", kNorm},
};

constexpr RoleRule kAttention[] = {
    {"{layer}.self_attn.q_proj", kAttentionQ},   {"{layer}.self_attn.k_proj", kAttentionK},
    {"{layer}.self_attn.v_proj", kAttentionV},   {"{layer}.self_attn.o_proj", kAttentionO},
    {"{layer}.self_attn.qkv_proj", kAttentionQ},  // q, k, v
    {"{layer}.self_attn.sinks", kOther},
};

// Multi-head latent attention of DeepSeek, with the indexer of its sparse variant.
constexpr RoleRule kLatentAttention[] = {
    {"{layer}.self_attn.q_a_proj", kAttentionQ},
    {"{layer}.self_attn.q_b_proj", kAttentionQ},
    {"{layer}.self_attn.kv_a_proj_with_mqa",
     kAttentionK},                                 // latent of k and v, and the rotary part of k
    {"{layer}.self_attn.kv_b_proj", kAttentionK},  // k and v, by head
    {"{layer}.self_attn.q_a_layernorm", kNorm},
    {"{layer}.self_attn.kv_a_layernorm", kNorm},
    {"{layer}.self_attn.indexer.wq_b", kAttentionQ},
    {"{layer}.self_attn.indexer.wk", kAttentionK},
    {"{layer}.self_attn.indexer.k_norm", kNorm},
    {"{layer}.self_attn.indexer", kOther},
};

constexpr RoleRule kGatedMlp[] = {
    {"{layer}.mlp.gate_proj", kMlpGate},
    {"{layer}.mlp.up_proj", kMlpUp},
    {"{layer}.mlp.down_proj", kMlpDown},
    {"{layer}.mlp.gate_up_proj", kMlpGate},
};

// Qwen, DeepSeek, Kimi, GLM, gpt-oss: experts in `mlp`, one by one or all in one tensor.
constexpr RoleRule kRouterGate[] = {
    {"{layer}.mlp.gate.e_score_correction_bias", kOther},
    {"{layer}.mlp.gate", kRouter},
};

constexpr RoleRule kExperts[] = {
    {"{layer}.mlp.router", kRouter},
    {"{layer}.mlp.experts.{expert}.gate_proj", kExpertGate},
    {"{layer}.mlp.experts.{expert}.up_proj", kExpertUp},
    {"{layer}.mlp.experts.{expert}.down_proj", kExpertDown},
    {"{layer}.mlp.experts.gate_up_proj", kExpertGate},
    {"{layer}.mlp.experts.gate_up_proj_blocks", kExpertGate},
    {"{layer}.mlp.experts.gate_up_proj_scales", kExpertGate},
    {"{layer}.mlp.experts.gate_up_proj_bias", kExpertGate},
    {"{layer}.mlp.experts.gate_proj", kExpertGate},
    {"{layer}.mlp.experts.up_proj", kExpertUp},
    {"{layer}.mlp.experts.down_proj", kExpertDown},
    {"{layer}.mlp.experts.down_proj_blocks", kExpertDown},
    {"{layer}.mlp.experts.down_proj_scales", kExpertDown},
    {"{layer}.mlp.experts.down_proj_bias", kExpertDown},
};

constexpr RoleRule kSharedExpert[] = {
    {"{layer}.mlp.shared_expert_gate", kRouter},  // one row: how much of the shared expert
    {"{layer}.mlp.shared_expert.gate_proj", kExpertGate},
    {"{layer}.mlp.shared_expert.up_proj", kExpertUp},
    {"{layer}.mlp.shared_expert.down_proj", kExpertDown},
    {"{layer}.mlp.shared_experts.gate_proj", kExpertGate},
    {"{layer}.mlp.shared_experts.up_proj", kExpertUp},
    {"{layer}.mlp.shared_experts.down_proj", kExpertDown},
};

// Mixtral and MiniMax: w1 gate, w3 up, w2 down. Granite: both halves of the gate in one tensor.
constexpr RoleRule kSparseBlock[] = {
    {"{layer}.block_sparse_moe.e_score_correction_bias", kOther},
    {"{layer}.block_sparse_moe.gate.e_score_correction_bias", kOther},
    {"{layer}.block_sparse_moe.gate", kRouter},
    {"{layer}.block_sparse_moe.router", kRouter},
    {"{layer}.block_sparse_moe.experts.{expert}.w1", kExpertGate},
    {"{layer}.block_sparse_moe.experts.{expert}.w3", kExpertUp},
    {"{layer}.block_sparse_moe.experts.{expert}.w2", kExpertDown},
    {"{layer}.block_sparse_moe.input_linear", kExpertGate},
    {"{layer}.block_sparse_moe.output_linear", kExpertDown},
    {"{layer}.shared_mlp.input_linear", kExpertGate},
    {"{layer}.shared_mlp.output_linear", kExpertDown},
};

// The gated delta rule of Qwen3-Next and Qwen3.5.
constexpr RoleRule kDeltaNet[] = {
    {"{layer}.linear_attn.norm", kNorm},
    {"{layer}.linear_attn", kRecurrent},
};

// One multi-token prediction block after the others, numbered like a layer (DeepSeek, GLM) or apart
// (Qwen3.5).
constexpr RoleRule kNextTokens[] = {
    {"{layer}.embed_tokens", kEmbedding},
    {"{layer}.enorm", kNorm},
    {"{layer}.hnorm", kNorm},
    {"{layer}.eh_proj", kOther},
    {"{layer}.shared_head.norm", kNorm},
    {"{layer}.shared_head.head", kHead},
    {"mtp.pre_fc_norm_embedding", kNorm},
    {"mtp.pre_fc_norm_hidden", kNorm},
    {"mtp.fc", kOther},
};

// Vision towers: SigLIP and CLIP (Gemma, Llama), and the ViT of Qwen.
constexpr RoleRule kVision[] = {
    {"{layer}.layer_norm1", kNorm},
    {"{layer}.layer_norm2", kNorm},
    {"{layer}.norm1", kNorm},
    {"{layer}.norm2", kNorm},
    {"{layer}.self_attn.out_proj", kAttentionO},
    {"{layer}.attn.qkv", kAttentionQ},
    {"{layer}.attn.proj", kAttentionO},
    {"{layer}.mlp.fc1", kMlpUp},
    {"{layer}.mlp.fc2", kMlpDown},
    {"{layer}.mlp.linear_fc1", kMlpUp},
    {"{layer}.mlp.linear_fc2", kMlpDown},
    {"patch_embed", kEmbedding},
    {"pos_embed", kEmbedding},
    {"patch_embedding", kEmbedding},
    {"position_embedding", kEmbedding},
    {"class_embedding", kEmbedding},
    {"positional_embedding_vlm", kEmbedding},
    {"layernorm_pre", kNorm},
    {"layernorm_post", kNorm},
    {"post_layernorm", kNorm},
    {"merger.norm", kNorm},
    {"merger", kOther},
    {"multi_modal_projector.mm_soft_emb_norm", kNorm},
    {"multi_modal_projector", kOther},
};

// Kimi's MoonViT counts its MLP from zero: fc0 up, fc1 down.
constexpr RoleRule kMoonVision[] = {
    {"{layer}.wqkv", kAttentionQ}, {"{layer}.wo", kAttentionO},   {"{layer}.norm0", kNorm},
    {"{layer}.mlp.fc0", kMlpUp},   {"{layer}.mlp.fc1", kMlpDown}, {"mm_projector.pre_norm", kNorm},
    {"mm_projector", kOther},
};

// DeepSeek's own names, used by V4: hyper-connections, compressed attention.
constexpr RoleRule kDeepSeekNative[] = {
    {"embed", kEmbedding},
    {"head", kHead},
    {"{layer}.attn_norm", kNorm},
    {"{layer}.ffn_norm", kNorm},
    {"{layer}.attn.q_norm", kNorm},
    {"{layer}.attn.kv_norm", kNorm},
    {"{layer}.attn.wq_a", kAttentionQ},
    {"{layer}.attn.wq_b", kAttentionQ},
    {"{layer}.attn.wkv", kAttentionK},
    {"{layer}.attn.wkv_a", kAttentionK},
    {"{layer}.attn.wkv_b", kAttentionK},
    {"{layer}.attn.wo", kAttentionO},
    {"{layer}.attn.wo_a", kAttentionO},
    {"{layer}.attn.wo_b", kAttentionO},
    {"{layer}.attn.compressor.norm", kNorm},
    {"{layer}.attn.compressor.wkv", kAttentionK},
    {"{layer}.attn.compressor", kOther},
    {"{layer}.attn.indexer.wq_b", kAttentionQ},
    {"{layer}.attn.indexer.compressor.norm", kNorm},
    {"{layer}.attn.indexer.compressor.wkv", kAttentionK},
    {"{layer}.attn.indexer", kOther},
    {"{layer}.attn.attn_sink", kOther},
    {"{layer}.ffn.gate.bias", kOther},
    {"{layer}.ffn.gate.tid2eid", kOther},
    {"{layer}.ffn.gate", kRouter},
    {"{layer}.ffn.experts.{expert}.w1", kExpertGate},
    {"{layer}.ffn.experts.{expert}.w3", kExpertUp},
    {"{layer}.ffn.experts.{expert}.w2", kExpertDown},
    {"{layer}.ffn.shared_experts.w1", kExpertGate},
    {"{layer}.ffn.shared_experts.w3", kExpertUp},
    {"{layer}.ffn.shared_experts.w2", kExpertDown},
    {"{layer}.ffn.w1", kMlpGate},
    {"{layer}.ffn.w3", kMlpUp},
    {"{layer}.ffn.w2", kMlpDown},
};

// The same model under the names that transformers gives it.
constexpr RoleRule kDeepSeekV4[] = {
    {"{layer}.self_attn.q_a_norm", kNorm},
    {"{layer}.self_attn.kv_norm", kNorm},
    {"{layer}.self_attn.kv_proj", kAttentionK},
    {"{layer}.self_attn.o_a_proj", kAttentionO},
    {"{layer}.self_attn.o_b_proj", kAttentionO},
    {"{layer}.self_attn.compressor.indexer.q_b_proj", kAttentionQ},
    {"{layer}.self_attn.compressor.kv_proj", kAttentionK},
    {"{layer}.self_attn.compressor.kv_norm", kNorm},
    {"{layer}.self_attn.compressor", kOther},
    {"{layer}.attn_hc", kOther},
    {"{layer}.ffn_hc", kOther},
    {"{layer}.mlp.gate.tid2eid", kOther},
};

// Gemma 4: a dense MLP and experts side by side; Gemma 3n's extra embeddings.
constexpr RoleRule kGemma[] = {
    {"embed_tokens_per_layer", kEmbedding},
    {"per_layer_model_projection", kOther},
    {"per_layer_projection_norm", kNorm},
    {"{layer}.pre_feedforward_layernorm_2", kNorm},
    {"{layer}.post_feedforward_layernorm_1", kNorm},
    {"{layer}.post_feedforward_layernorm_2", kNorm},
    {"{layer}.post_per_layer_input_norm", kNorm},
    {"{layer}.router", kRouter},
    {"{layer}.experts.gate_up_proj", kExpertGate},
    {"{layer}.experts.down_proj", kExpertDown},
    {"{layer}.layer_scalar", kOther},
};

// Llama 4, and others that call the MLP feed_forward (InternLM2, LFM2, Jamba): w1 gate, w3 up, w2
// down.
constexpr RoleRule kFeedForward[] = {
    {"tok_embeddings", kEmbedding},
    {"{layer}.feed_forward.router", kRouter},
    {"{layer}.feed_forward.gate", kRouter},
    {"{layer}.feed_forward.experts.gate_up_proj", kExpertGate},
    {"{layer}.feed_forward.experts.down_proj", kExpertDown},
    {"{layer}.feed_forward.experts.{expert}.gate_proj", kExpertGate},
    {"{layer}.feed_forward.experts.{expert}.up_proj", kExpertUp},
    {"{layer}.feed_forward.experts.{expert}.down_proj", kExpertDown},
    {"{layer}.feed_forward.experts.{expert}.w1", kExpertGate},
    {"{layer}.feed_forward.experts.{expert}.w3", kExpertUp},
    {"{layer}.feed_forward.experts.{expert}.w2", kExpertDown},
    {"{layer}.feed_forward.shared_expert.gate_proj", kExpertGate},
    {"{layer}.feed_forward.shared_expert.up_proj", kExpertUp},
    {"{layer}.feed_forward.shared_expert.down_proj", kExpertDown},
    {"{layer}.feed_forward.gate_proj", kMlpGate},
    {"{layer}.feed_forward.up_proj", kMlpUp},
    {"{layer}.feed_forward.down_proj", kMlpDown},
    {"{layer}.feed_forward.w1", kMlpGate},
    {"{layer}.feed_forward.w3", kMlpUp},
    {"{layer}.feed_forward.w2", kMlpDown},
    {"{layer}.attention.wqkv", kAttentionQ},
    {"{layer}.attention.wq", kAttentionQ},
    {"{layer}.attention.wk", kAttentionK},
    {"{layer}.attention.wv", kAttentionV},
    {"{layer}.attention.wo", kAttentionO},
};

// Nemotron-H: every layer is one mixer, of attention, Mamba, MLP or experts. Its MLPs have no gate.
constexpr RoleRule kMixer[] = {
    {"embeddings", kEmbedding},
    {"norm_f", kNorm},
    {"{layer}.norm", kNorm},
    {"{layer}.mixer.norm", kNorm},
    {"{layer}.mixer.q_proj", kAttentionQ},
    {"{layer}.mixer.k_proj", kAttentionK},
    {"{layer}.mixer.v_proj", kAttentionV},
    {"{layer}.mixer.o_proj", kAttentionO},
    {"{layer}.mixer.gate.e_score_correction_bias", kOther},
    {"{layer}.mixer.gate", kRouter},
    {"{layer}.mixer.experts.{expert}.up_proj", kExpertUp},
    {"{layer}.mixer.experts.{expert}.down_proj", kExpertDown},
    {"{layer}.mixer.shared_experts.up_proj", kExpertUp},
    {"{layer}.mixer.shared_experts.down_proj", kExpertDown},
    {"{layer}.mixer.up_proj", kMlpUp},
    {"{layer}.mixer.down_proj", kMlpDown},
    {"{layer}.mixer", kRecurrent},
};

// Mamba blocks inside other stacks (Jamba, Bamba, Falcon-H1, Granite hybrid).
constexpr RoleRule kStateSpace[] = {
    {"{layer}.mamba.norm", kNorm},        {"{layer}.mamba.dt_layernorm", kNorm},
    {"{layer}.mamba.b_layernorm", kNorm}, {"{layer}.mamba.c_layernorm", kNorm},
    {"{layer}.mamba", kRecurrent},
};

// GPT-2: input-major matrices (Conv1D), q k v in one; attn.bias is the causal mask, not a bias.
constexpr RoleRule kGpt2[] = {
    {"wte", kEmbedding},
    {"wpe", kEmbedding},
    {"ln_f", kNorm},
    {"lm_head", kHead},
    {"{layer}.ln_1", kNorm},
    {"{layer}.ln_2", kNorm},
    {"{layer}.attn.c_attn", kAttentionQ},
    {"{layer}.attn.c_proj", kAttentionO},
    {"{layer}.attn.bias", kOther},
    {"{layer}.attn.masked_bias", kOther},
    {"{layer}.mlp.c_fc", kMlpUp},
    {"{layer}.mlp.c_proj", kMlpDown},
};

// The first Qwen: w2 is gated by its activation, w1 is not.
constexpr RoleRule kQwen1[] = {
    {"{layer}.mlp.w2", kMlpGate},
    {"{layer}.mlp.w1", kMlpUp},
};

// ChatGLM's dense_h_to_4h holds gate and up; everybody else's has no gate (see kFusedQkv).
constexpr RoleRule kChatGlm[] = {
    {"{layer}.mlp.dense_h_to_4h", kMlpGate},
    {"output_layer", kHead},
};

// GPT-NeoX, BLOOM, Falcon, ChatGLM; phi-1 and phi-2; GPT-J; OPT, BART and Whisper; MPT and DBRX.
constexpr RoleRule kFusedQkv[] = {
    {"{layer}.attention.query_key_value", kAttentionQ},
    {"{layer}.self_attention.query_key_value", kAttentionQ},
    {"{layer}.attention.dense", kAttentionO},
    {"{layer}.self_attention.dense", kAttentionO},
    {"{layer}.self_attn.dense", kAttentionO},
    {"{layer}.mlp.dense_h_to_4h", kMlpUp},
    {"{layer}.mlp.dense_4h_to_h", kMlpDown},
    {"{layer}.attn.q_proj", kAttentionQ},
    {"{layer}.attn.k_proj", kAttentionK},
    {"{layer}.attn.v_proj", kAttentionV},
    {"{layer}.attn.out_proj", kAttentionO},
    {"{layer}.mlp.fc_in", kMlpUp},
    {"{layer}.mlp.fc_out", kMlpDown},
    {"{layer}.encoder_attn.q_proj", kAttentionQ},
    {"{layer}.encoder_attn.k_proj", kAttentionK},
    {"{layer}.encoder_attn.v_proj", kAttentionV},
    {"{layer}.encoder_attn.out_proj", kAttentionO},
    {"{layer}.fc1", kMlpUp},
    {"{layer}.fc2", kMlpDown},
    {"{layer}.attn.Wqkv", kAttentionQ},
    {"{layer}.ffn.up_proj", kMlpUp},
    {"{layer}.ffn.down_proj", kMlpDown},
    {"{layer}.norm_attn_norm.attn.Wqkv", kAttentionQ},
    {"{layer}.norm_attn_norm.attn.out_proj", kAttentionO},
    {"{layer}.ffn.router", kRouter},
    {"{layer}.ffn.experts.mlp.w1", kExpertGate},
    {"{layer}.ffn.experts.mlp.v1", kExpertUp},
    {"{layer}.ffn.experts.mlp.w2", kExpertDown},
    {"word_embeddings_layernorm", kNorm},
    {"word_embeddings", kEmbedding},
    {"embed_in", kEmbedding},
    {"embed_out", kHead},
};

// BERT and its kin, ViT included; ModernBERT (Wi holds gate and up); DistilBERT.
constexpr RoleRule kBert[] = {
    {"embeddings.LayerNorm", kNorm},
    {"embeddings.norm", kNorm},
    {"embeddings", kEmbedding},
    {"{layer}.attention.self.query", kAttentionQ},
    {"{layer}.attention.self.key", kAttentionK},
    {"{layer}.attention.self.value", kAttentionV},
    {"{layer}.attention.attention.query", kAttentionQ},
    {"{layer}.attention.attention.key", kAttentionK},
    {"{layer}.attention.attention.value", kAttentionV},
    {"{layer}.attention.output.dense", kAttentionO},
    {"{layer}.attention.output.LayerNorm", kNorm},
    {"{layer}.intermediate.dense", kMlpUp},
    {"{layer}.output.dense", kMlpDown},
    {"{layer}.output.LayerNorm", kNorm},
    {"{layer}.layernorm_before", kNorm},
    {"{layer}.layernorm_after", kNorm},
    {"{layer}.attn.Wo", kAttentionO},
    {"{layer}.mlp.Wi", kMlpGate},
    {"{layer}.mlp.Wo", kMlpDown},
    {"{layer}.attention.q_lin", kAttentionQ},
    {"{layer}.attention.k_lin", kAttentionK},
    {"{layer}.attention.v_lin", kAttentionV},
    {"{layer}.attention.out_lin", kAttentionO},
    {"{layer}.ffn.lin1", kMlpUp},
    {"{layer}.ffn.lin2", kMlpDown},
    {"pooler", kOther},
    {"cls.predictions.transform.LayerNorm", kNorm},
    {"cls.predictions.transform", kOther},
    {"cls.predictions", kHead},
    {"classifier", kHead},
};

// T5: the number after `block` is the layer, the one after `layer` a place inside it.
constexpr RoleRule kT5[] = {
    {"shared", kEmbedding},
    {"final_layer_norm", kNorm},
    {"{layer}.layer.0.SelfAttention.q", kAttentionQ},
    {"{layer}.layer.0.SelfAttention.k", kAttentionK},
    {"{layer}.layer.0.SelfAttention.v", kAttentionV},
    {"{layer}.layer.0.SelfAttention.o", kAttentionO},
    {"{layer}.layer.0.SelfAttention.relative_attention_bias", kEmbedding},
    {"{layer}.layer.1.EncDecAttention.q", kAttentionQ},
    {"{layer}.layer.1.EncDecAttention.k", kAttentionK},
    {"{layer}.layer.1.EncDecAttention.v", kAttentionV},
    {"{layer}.layer.1.EncDecAttention.o", kAttentionO},
    {"{layer}.layer.1.DenseReluDense.wi_0", kMlpGate},
    {"{layer}.layer.1.DenseReluDense.wi_1", kMlpUp},
    {"{layer}.layer.1.DenseReluDense.wi", kMlpUp},
    {"{layer}.layer.1.DenseReluDense.wo", kMlpDown},
    {"{layer}.layer.2.DenseReluDense.wi_0", kMlpGate},
    {"{layer}.layer.2.DenseReluDense.wi_1", kMlpUp},
    {"{layer}.layer.2.DenseReluDense.wi", kMlpUp},
    {"{layer}.layer.2.DenseReluDense.wo", kMlpDown},
};

// Keras text models such as textgenrnn. The attention layer there is one learned query.
constexpr RoleRule kKeras[] = {
    {"embedding.embeddings", kEmbedding},
    {"attention.attention_W", kAttentionQ},
    {"output.kernel", kHead},
    {"output.bias", kHead},
};

constexpr RoleRules kDense[] = {kDecoder, kAttention, kGatedMlp};
constexpr RoleRules kQwen3Moe[] = {kDecoder,    kAttention, kGatedMlp,
                                   kRouterGate, kExperts,   kSharedExpert};
constexpr RoleRules kQwen3Vision[] = {kDecoder, kAttention,    kGatedMlp, kRouterGate,
                                      kExperts, kSharedExpert, kVision};
constexpr RoleRules kQwen35[] = {kDecoder,      kAttention, kGatedMlp,   kRouterGate, kExperts,
                                 kSharedExpert, kDeltaNet,  kNextTokens, kVision};
constexpr RoleRules kDeepSeek[] = {kDecoder,    kAttention, kLatentAttention, kGatedMlp,
                                   kRouterGate, kExperts,   kSharedExpert,    kNextTokens};
constexpr RoleRules kKimi[] = {kDecoder, kAttention,    kLatentAttention, kGatedMlp, kRouterGate,
                               kExperts, kSharedExpert, kMoonVision,      kVision};
constexpr RoleRules kDeepSeek4[] = {kDeepSeekNative,  kDeepSeekV4, kDecoder,    kAttention,
                                    kLatentAttention, kGatedMlp,   kRouterGate, kExperts,
                                    kSharedExpert,    kNextTokens};
// transformers 5 calls the sparse block `mlp`, as all others do.
constexpr RoleRules kMixtral[] = {kDecoder,  kAttention,  kSparseBlock,
                                  kGatedMlp, kRouterGate, kExperts};
constexpr RoleRules kGraniteHybrid[] = {kDecoder, kAttention, kSparseBlock, kStateSpace};
constexpr RoleRules kGptOss[] = {kDecoder, kAttention, kRouterGate, kExperts};
constexpr RoleRules kGemmas[] = {kDecoder, kAttention, kGatedMlp, kGemma, kVision};
constexpr RoleRules kLlama4[] = {kDecoder, kAttention, kFeedForward, kVision};
constexpr RoleRules kInternLm[] = {kDecoder, kAttention, kFeedForward, kStateSpace};
constexpr RoleRules kNemotron[] = {kMixer, kDecoder};
constexpr RoleRules kGpts[] = {kGpt2};
constexpr RoleRules kFirstQwen[] = {kQwen1, kGpt2};
constexpr RoleRules kGlm[] = {kChatGlm, kFusedQkv};
constexpr RoleRules kNeoX[] = {kFusedQkv, kDecoder, kAttention, kVision};
constexpr RoleRules kBerts[] = {kBert, kFusedQkv};
constexpr RoleRules kT5s[] = {kT5, kDecoder};

constexpr ArchitectureRules kArchitectures[] = {
    {"BartForConditionalGeneration", kNeoX},
    {"BertForMaskedLM", kBerts},
    {"BertForSequenceClassification", kBerts},
    {"BertModel", kBerts},
    {"BloomForCausalLM", kNeoX},
    {"ChatGLMModel", kGlm},
    {"CohereForCausalLM", kDense},
    {"DbrxForCausalLM", kNeoX},
    {"DeepseekV2ForCausalLM", kDeepSeek},
    {"DeepseekV32ForCausalLM", kDeepSeek},
    {"DeepseekV3ForCausalLM", kDeepSeek},
    {"DeepseekV4ForCausalLM", kDeepSeek4},
    {"DistilBertForMaskedLM", kBerts},
    {"FalconForCausalLM", kNeoX},
    {"GPT2LMHeadModel", kGpts},
    {"GPT2Model", kGpts},
    {"GPTBigCodeForCausalLM", kGpts},
    {"GPTJForCausalLM", kNeoX},
    {"GPTNeoXForCausalLM", kNeoX},
    {"Gemma2ForCausalLM", kGemmas},
    {"Gemma3ForCausalLM", kGemmas},
    {"Gemma3ForConditionalGeneration", kGemmas},
    {"Gemma3nForConditionalGeneration", kGemmas},
    {"Gemma4ForConditionalGeneration", kGemmas},
    {"GemmaForCausalLM", kGemmas},
    {"Glm4MoeForCausalLM", kDeepSeek},
    {"GlmMoeDsaForCausalLM", kDeepSeek},
    {"GptOssForCausalLM", kGptOss},
    {"GraniteForCausalLM", kDense},
    {"GraniteMoeForCausalLM", kMixtral},
    {"GraniteMoeHybridForCausalLM", kGraniteHybrid},
    {"InternLM2ForCausalLM", kInternLm},
    {"JambaForCausalLM", kInternLm},
    {"KimiK25ForConditionalGeneration", kKimi},
    {"Lfm2ForCausalLM", kInternLm},
    {"Llama4ForConditionalGeneration", kLlama4},
    {"LlamaForCausalLM", kDense},
    {"MiniMaxM2ForCausalLM", kMixtral},
    {"MistralForCausalLM", kDense},
    {"MixtralForCausalLM", kMixtral},
    {"ModernBertForMaskedLM", kBerts},
    {"NemotronHForCausalLM", kNemotron},
    {"OPTForCausalLM", kNeoX},
    {"Olmo2ForCausalLM", kDense},
    {"Phi3ForCausalLM", kDense},
    {"PhiForCausalLM", kNeoX},
    {"QWenLMHeadModel", kFirstQwen},
    {"Qwen2ForCausalLM", kDense},
    {"Qwen2MoeForCausalLM", kQwen3Moe},
    {"Qwen2VLForConditionalGeneration", kQwen3Vision},
    {"Qwen2_5_VLForConditionalGeneration", kQwen3Vision},
    {"Qwen3ForCausalLM", kDense},
    {"Qwen3MoeForCausalLM", kQwen3Moe},
    {"Qwen3NextForCausalLM", kQwen35},
    {"Qwen3VLForConditionalGeneration", kQwen3Vision},
    {"Qwen3VLMoeForConditionalGeneration", kQwen3Vision},
    {"Qwen3_5ForCausalLM", kQwen35},
    {"Qwen3_5ForConditionalGeneration", kQwen35},
    {"Qwen3_5MoeForCausalLM", kQwen35},
    {"Qwen3_5MoeForConditionalGeneration", kQwen35},
    {"RobertaForMaskedLM", kBerts},
    {"T5ForConditionalGeneration", kT5s},
    {"ViTForImageClassification", kBerts},
    {"ViTModel", kBerts},
    {"WhisperForConditionalGeneration", kNeoX},
};

// Everything that does not depend on the architecture. Missing on purpose: kQwen1, kChatGlm and
// kMoonVision, which contradict the others, and the router called mlp.gate, which the shape decides
// (roles.cc).
constexpr RoleRules kGeneric[] = {
    kAttention,   kLatentAttention, kGatedMlp, kExperts, kSharedExpert, kSparseBlock,
    kDeltaNet,    kNextTokens,      kGpt2,     kBert,    kT5,           kFusedQkv,
    kFeedForward, kStateSpace,      kVision,   kKeras,   kDecoder};

constexpr RoleWord kWords[] = {
    {"e_score_correction_bias", kOther, false, false},
    {"rotary", kOther, false, false},
    {"inv_freq", kOther, false, false},
    {"norm", kNorm, false, false},
    {"ln", kNorm, true, false},
    {"lstm", kRecurrent, false, false},
    {"gru", kRecurrent, true, false},
    {"rnn", kRecurrent, false, false},
    {"recurrent", kRecurrent, false, false},
    {"weight_ih", kRecurrent, false, false},
    {"weight_hh", kRecurrent, false, false},
    {"bias_ih", kRecurrent, false, false},
    {"bias_hh", kRecurrent, false, false},
    {"mamba", kRecurrent, false, false},
    {"ssm", kRecurrent, true, false},
    {"conv1d", kRecurrent, false, false},
    {"a_log", kRecurrent, true, false},
    {"dt_bias", kRecurrent, true, false},
    {"dt_proj", kRecurrent, true, false},
    {"linear_attn", kRecurrent, false, false},
    {"delta_net", kRecurrent, false, false},
    {"time_mix", kRecurrent, false, false},
    {"router", kRouter, false, false},
    {"gate_inp", kRouter, true, false},
    {"embed", kEmbedding, false, false},
    {"embd", kEmbedding, false, false},
    {"emb", kEmbedding, true, false},
    {"wte", kEmbedding, true, false},
    {"wpe", kEmbedding, true, false},
    {"qkv", kAttentionQ, false, false},
    {"q_proj", kAttentionQ, true, false},
    {"k_proj", kAttentionK, true, false},
    {"v_proj", kAttentionV, true, false},
    {"o_proj", kAttentionO, true, false},
    {"to_q", kAttentionQ, true, false},
    {"to_k", kAttentionK, true, false},
    {"to_v", kAttentionV, true, false},
    {"to_out", kAttentionO, true, false},
    {"attn_q", kAttentionQ, true, false},
    {"attn_k", kAttentionK, true, false},
    {"attn_v", kAttentionV, true, false},
    {"attn_output", kAttentionO, true, false},
    {"in_proj_weight", kAttentionQ, true, false},  // torch.nn.MultiheadAttention: q, k, v
    {"in_proj_bias", kAttentionQ, true, false},
    {"out_proj", kAttentionO, true, false},
    {"query", kAttentionQ, true, false},
    {"key", kAttentionK, true, false},
    {"value", kAttentionV, true, false},
    {"gate_up", kMlpGate, true, false},
    {"gate", kMlpGate, true, false},
    {"up", kMlpUp, true, false},
    {"down", kMlpDown, true, false},
    {"w1", kMlpGate, true, false},
    {"w3", kMlpUp, true, false},
    {"w2", kMlpDown, true, false},
    {"linear1", kMlpUp, true, false},
    {"linear2", kMlpDown, true, false},
    {"fc1", kMlpUp, true, false},
    {"fc2", kMlpDown, true, false},
    {"c_fc", kMlpUp, true, false},
    {"head", kHead, true, true},
    {"logits", kHead, true, true},
    {"classifier", kHead, true, true},
    {"score", kHead, true, true},
    {"output", kHead, true, true},
};

constexpr TowerName kTowers[] = {
    {"visual", "vision"},
    {"vision_tower", "vision"},
    {"vision_model", "vision"},
    {"vision_encoder", "vision"},
    {"embed_vision", "vision"},
    {"multi_modal_projector", "vision"},
    {"mm_projector", "vision"},
    {"audio_tower", "audio"},
    {"audio_model", "audio"},
    {"embed_audio", "audio"},
    {"mtp", "mtp"},
};

}  // namespace

std::span<const ArchitectureRules> architectures() { return kArchitectures; }
std::span<const RoleRules> generic_rules() { return kGeneric; }
std::span<const RoleWord> role_words() { return kWords; }
std::span<const TowerName> tower_names() { return kTowers; }

}  // namespace hieron
