/* SPDX-License-Identifier: MIT
 * consumer.cpp: a C++17 program that uses the library as a stranger would: by its public headers
 * and its archive alone. Owns handles by unique_ptr, trains a moment on data of its own, predicts,
 * and answers 0 if all went as the headers say. tests/embed compiles and runs it. */
#include <kd/kd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

template <auto destroy> struct Destroy {
    template <class T> void operator()(T *handle) const
    {
        destroy(handle);
    }
};
using Context = std::unique_ptr<kd_ctx, Destroy<kd_ctx_destroy>>;
using Model = std::unique_ptr<kd_model, Destroy<kd_model_destroy>>;
using Dataset = std::unique_ptr<kd_dataset, Destroy<kd_dataset_close>>;

static constexpr std::size_t pictures = 64, side = 8, classes = 2;

/* Dark pictures are class 0, bright ones class 1. */
static Dataset make_data(kd_ctx *ctx)
{
    std::vector<std::uint8_t> pixels(pictures * side * side);
    std::vector<std::int32_t> labels(pictures);
    for (std::size_t i = 0; i < pictures; i++) {
        labels[i] = static_cast<std::int32_t>(i % classes);
        std::memset(&pixels[i * side * side], labels[i] ? 200 : 50, side * side);
    }
    kd_data_info info = {};
    info.struct_size = sizeof info;
    info.classes = classes;
    info.height = info.width = side;
    info.channels = 1;
    info.count[KD_SPLIT_TRAIN] = info.count[KD_SPLIT_TEST] = pictures;
    const std::uint8_t *const images[KD_SPLIT_COUNT] = {pixels.data(), pixels.data()};
    const std::int32_t *const answers[KD_SPLIT_COUNT] = {labels.data(), labels.data()};
    kd_dataset *data = nullptr;
    kd_dataset_from_arrays(ctx, &info, images, answers, 0, &data);
    return Dataset(data);
}

static int fail(kd_ctx *ctx, const char *what)
{
    std::fprintf(stderr, "consumer: %s: %s\n", what, ctx ? kd_ctx_error(ctx) : "no context");
    return 1;
}

int main()
{
    kd_ctx *made = nullptr;
    kd_config config = {};
    config.struct_size = sizeof config;
    config.threads = 1;
    if (kd_ctx_create(&config, &made)) return fail(nullptr, "kd_ctx_create");
    const Context ctx(made);
    const Dataset data = make_data(made);
    if (!data) return fail(made, "kd_dataset_from_arrays");

    kd_model *network = nullptr;
    if (kd_model_create(made, "vgg2_bn,width=0.125,classes=2,image=8,channels=1", 1, &network))
        return fail(made, "kd_model_create");
    const Model model(network);
    kd_train_opt opt = {};
    opt.struct_size = sizeof opt;
    opt.epochs = 30;
    opt.batch = 16;
    opt.augment = "none";
    kd_result result = {};
    result.struct_size = sizeof result;
    if (kd_train(network, data.get(), &opt, &result)) return fail(made, "kd_train");
    std::printf("%.1f %% right after %zu steps\n", result.top1, result.steps);

    std::vector<float> picture(side * side, 0.5f), logits(classes);
    if (kd_model_predict(network, picture.data(), 1, 0, logits.data()))
        return fail(made, "kd_model_predict");

    /* A bright picture of the caller's, larger than the network's. */
    const std::vector<std::uint8_t> bright(20 * 30, 200);
    kd_picture shown = {};
    shown.pixels = bright.data();
    shown.bytes = bright.size();
    shown.height = 20;
    shown.width = 30;
    shown.channels = 1;
    kd_predictor *predictor = nullptr;
    kd_guess guess = {};
    if (kd_predictor_create(network, nullptr, &predictor)) return fail(made, "kd_predictor_create");
    const kd_status seen = kd_predictor_run(predictor, &shown, 1, logits.data());
    kd_predictor_destroy(predictor);
    if (seen || kd_model_guess(network, logits.data(), 1, &guess)) return fail(made, "a guess");
    if (guess.index != 1) return 1;

    /* Errors are statuses with words, not exceptions. */
    kd_model *none = nullptr;
    if (kd_model_create(made, "vgg99", 1, &none) != KD_E_INVALID || none) return 1;
    return std::strstr(kd_ctx_error(made), "vgg99") && result.top1 == 100 ? 0 : 1;
}
