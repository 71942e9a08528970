/* SPDX-License-Identifier: MIT
 * main.c: a whole firmware: opens the network that is built in, lets it test itself, classifies the
 * pictures that are built in, prints what it says of each and what that took. model.c and pictures.c
 * are made by build.sh; board.h is all that it asks of the board. */
#include "board.h"
#include "model.h"
#include "pictures.h"

static uint8_t arena[MODEL_ARENA_BYTES] __attribute__((aligned(16)));
static MODEL_OUTPUT_TYPE logits[MODEL_CLASSES];
static kd_edge_model model;

static int fail(const char *what, kd_edge_status status)
{
    board_write(what);
    board_write(": ");
    board_write(kd_edge_text(status));
    board_write("\n");
    return 1;
}

static const char *name_of(uint32_t class)
{
    const char *name = kd_edge_label(&model, class);
    return name ? name : "a class without a name";
}

/* At most a billion either way: what is larger has no integer, and says enough. */
static int64_t thousandths(float x)
{
    const float most = 1e9f;
    if (x > most) return (int64_t)most * 1000;
    return x >= -most ? (int64_t)(1000 * x) : (int64_t)-most * 1000;
}

/* The logits as integers: of a float32 network, in thousandths. */
static void print_logits(void)
{
    for (uint32_t i = 0; i < MODEL_CLASSES; i++) {
        board_write(" ");
        board_write_int(
            model.type == KD_EDGE_INT8 ? (int64_t)logits[i] : thousandths((float)logits[i]), "");
    }
    board_write("\n");
}

static int classify(void)
{
    uint32_t right = 0, known = 0;
    for (uint32_t i = 0; i < pictures_n; i++) {
        const kd_edge_status status = kd_edge_run(&model, arena, sizeof arena, pictures[i], logits);
        if (status) return fail("run", status);
        const uint32_t says = kd_edge_argmax(&model, logits);
        board_write("picture ");
        board_write_int((int64_t)i, ": ");
        board_write(name_of(says));
        if (pictures_label[i] >= 0) {
            const uint32_t label = (uint32_t)pictures_label[i];
            known++;
            right += says == label;
            board_write(says == label ? ", right" : ", but it is: ");
            if (says != label) board_write(name_of(label));
        }
        board_write("; logits");
        print_logits();
    }
    if (!known) return 0;
    board_write_int((int64_t)right, " of ");
    board_write_int((int64_t)known, " right\n");
    return 0;
}

/* Layer by layer, as a program with something else to do would run it, and counted. */
static void count(void)
{
    uint64_t macs = 0, total = 0;
    kd_edge_begin(&model, arena, sizeof arena, pictures[0]);
    for (uint32_t i = 0; i < model.records; i++) {
        kd_edge_layer layer;
        kd_edge_layer_get(&model, i, &layer);
        board_count_begin();
        kd_edge_step(&model, arena, i);
        const uint64_t spent = board_count();
        total += spent;
        macs += layer.macs;
        if (!spent) continue;
        board_write("# ");
        board_write(layer.name && *layer.name ? layer.name : layer.op);
        board_write(": ");
        board_write_int((int64_t)spent, " instructions, ");
        board_write_int((int64_t)layer.macs, " MACs\n");
    }
    if (!total || !macs) return;
    board_write("# one picture: ");
    board_write_int((int64_t)total, " instructions, ");
    board_write_int((int64_t)macs, " MACs, ");
    board_write_int((int64_t)(total * 100 / macs), " instructions a hundred MACs\n");
}

int main(void)
{
    kd_edge_status status = kd_edge_open(&model, model_blob, sizeof model_blob, model_ops);
    if (status) return fail("open", status);
    board_stack_begin();
    status = kd_edge_selftest(&model, arena, sizeof arena);
    if (status) return fail("self-test", status);
    const uint32_t stack = board_stack_used();
    board_write("self-test passed\n");
    board_write("# flash: ");
    board_write_int((int64_t)sizeof model_blob, " bytes of network; RAM: ");
    board_write_int((int64_t)sizeof arena, " bytes of arena");
    if (stack) {
        board_write(", ");
        board_write_int((int64_t)stack, " of stack");
    }
    board_write("\n");
    if (classify()) return 1;
    count();
    return 0;
}
