/* SPDX-License-Identifier: MIT
 * net_shapes.c: random networks, and those whose memory is known: VGG's kind and ResNet-8. */
#include "net.h"

static net_layer conv3(int from, int channels, int stride, int pool)
{
    return (net_layer){.op = KD_EDGE_OP_CONV2D,
                       .from = from,
                       .out_channels = (uint16_t)channels,
                       .kernel_height = 3,
                       .kernel_width = 3,
                       .stride_height = (uint8_t)stride,
                       .stride_width = (uint8_t)stride,
                       .pad_top = 1,
                       .pad_left = 1,
                       .pool = (uint8_t)pool,
                       .relu = 1};
}

static net_layer linear(int from, int classes)
{
    return (net_layer){.op = KD_EDGE_OP_LINEAR,
                       .from = from,
                       .out_channels = (uint16_t)classes,
                       .kernel_height = 1,
                       .kernel_width = 1,
                       .stride_height = 1,
                       .stride_width = 1};
}

static net_layer pooling(int op, int from, int height, int width)
{
    return (net_layer){.op = (uint16_t)op,
                       .from = from,
                       .kernel_height = (uint8_t)height,
                       .kernel_width = (uint8_t)width,
                       .stride_height = (uint8_t)height,
                       .stride_width = (uint8_t)width};
}

static int add_layer(net *to, net_layer layer)
{
    to->layers[to->n++] = layer;
    return to->n;
}

net net_vgg(int stages, const int *channels, const int *convs)
{
    net to = {.type = KD_EDGE_INT8, .height = 32, .width = 32, .channels = 3, .seed = 7};
    int at = 0;
    for (int s = 0; s < stages; s++)
        for (int i = 0; i < convs[s]; i++)
            at = add_layer(&to, conv3(at, channels[s], 1, i == convs[s] - 1 ? 2 : 1));
    const int side = 32 >> stages;
    if (side > 1) at = add_layer(&to, pooling(KD_EDGE_OP_AVG_POOL, at, side, side));
    add_layer(&to, linear(at, 10));
    return to;
}

net net_resnet8(int filters)
{
    net to = {.type = KD_EDGE_INT8, .height = 32, .width = 32, .channels = 3, .seed = 8};
    int at = add_layer(&to, conv3(0, filters, 1, 1));
    for (int s = 0; s < 3; s++) {
        const int stride = s ? 2 : 1, channels = filters << s;
        const int first = add_layer(&to, conv3(at, channels, stride, 1));
        net_layer second = conv3(first, channels, 1, 1);
        second.relu = 0;
        const int sum = add_layer(&to, second);
        if (s) {
            net_layer shortcut = linear(at, channels);
            shortcut.op = KD_EDGE_OP_CONV2D;
            shortcut.stride_height = shortcut.stride_width = 2;
            at = add_layer(&to, shortcut);
        }
        at = add_layer(&to, (net_layer){.op = KD_EDGE_OP_ADD, .from = sum, .with = at, .relu = 1});
    }
    at = add_layer(&to, pooling(KD_EDGE_OP_AVG_POOL, at, 8, 8));
    add_layer(&to, linear(at, 10));
    return to;
}

/* ---- random ----------------------------------------------------------------------------------- */

static int pick(uint64_t *state, int low, int high)
{
    return low + (int)(net_random_bits(state) % (uint32_t)(high - low + 1));
}

/* A kernel, stride and padding that fit `side` inputs; the number of outputs. */
static int pick_windows(uint64_t *state, int side, int pool, uint8_t *kernel, uint8_t *stride,
                        uint8_t *pad)
{
    for (;;) {
        const int k = pick(state, 1, pool == 2 ? 4 : 5), s = pick(state, 1, 3);
        const int p = pick(state, 0, 1) ? pick(state, 0, k - 1) : 0;
        const int last = side + p - 1; /* where a window may begin at most, counted from -p */
        const int most = last / s + 1;
        int outs = most / pool;
        if (!pick(state, 0, 2) && side + 2 * p >= k) outs = ((side + 2 * p - k) / s + 1) / pool;
        if (outs < 1 || (pool > 1 && k + s > 16)) continue;
        *kernel = (uint8_t)k, *stride = (uint8_t)s, *pad = (uint8_t)p;
        return outs;
    }
}

static net_layer random_conv(uint64_t *state, int from, int height, int width)
{
    net_layer layer = {.op = KD_EDGE_OP_CONV2D, .from = from};
    layer.pool = (uint8_t)(height > 3 && width > 3 && !pick(state, 0, 2) ? 2 : 1);
    layer.out_channels = (uint16_t)pick(state, 1, 20);
    layer.out_height = (uint16_t)pick_windows(state, height, layer.pool, &layer.kernel_height,
                                              &layer.stride_height, &layer.pad_top);
    layer.out_width = (uint16_t)pick_windows(state, width, layer.pool, &layer.kernel_width,
                                             &layer.stride_width, &layer.pad_left);
    layer.relu = (uint8_t)pick(state, 0, 2);
    layer.lines = (uint8_t)pick(state, 0, 1);
    return layer;
}

static net_layer random_pool(uint64_t *state, int from, int height, int width)
{
    net_layer layer =
        pooling(pick(state, 0, 1) ? KD_EDGE_OP_MAX_POOL : KD_EDGE_OP_AVG_POOL, from,
                pick(state, 1, height < 3 ? height : 3), pick(state, 1, width < 3 ? width : 3));
    if (pick(state, 0, 1)) layer.stride_height = (uint8_t)pick(state, 1, 3);
    if (layer.op == KD_EDGE_OP_MAX_POOL && pick(state, 0, 1))
        layer.pad_top = (uint8_t)(layer.kernel_height - 1);
    return layer;
}

net net_random(uint64_t seed)
{
    uint64_t state = seed ^ 0x5A5A;
    net to = {.type = KD_EDGE_INT8, .seed = seed};
    to.height = (uint16_t)pick(&state, 1, 14), to.width = (uint16_t)pick(&state, 1, 14);
    to.channels = (uint16_t)pick(&state, 1, 5);
    to.kind = (uint8_t)pick(&state, 0, 1), to.sums = (uint8_t)pick(&state, 0, 1);
    to.apart = (uint8_t)!pick(&state, 0, 3), to.labels = (uint8_t)pick(&state, 0, 1);
    to.picture = (uint8_t)pick(&state, 0, 1);
    int height = to.height, width = to.width, at = 0;
    const int n = pick(&state, 1, 5);
    for (int i = 0; i < n; i++) {
        net_layer layer = random_conv(&state, at, height, width);
        if (i && !pick(&state, 0, 2)) layer = random_pool(&state, at, height, width);
        if (layer.op == KD_EDGE_OP_CONV2D) {
            height = layer.out_height, width = layer.out_width;
        } else {
            height = (height + 2 * layer.pad_top - layer.kernel_height) / layer.stride_height + 1;
            width = (width - layer.kernel_width) / layer.stride_width + 1;
        }
        at = add_layer(&to, layer);
        if (pick(&state, 0, 3)) continue;
        /* a residual block: a convolution that keeps the shape, and a sum */
        net_layer same = conv3(at, to.layers[at - 1].out_channels, 1, 1);
        if (layer.op != KD_EDGE_OP_CONV2D) continue;
        const int branch = add_layer(&to, same);
        at = add_layer(&to, (net_layer){.op = KD_EDGE_OP_ADD,
                                        .from = pick(&state, 0, 1) ? branch : at,
                                        .with = pick(&state, 0, 1) ? branch : at,
                                        .relu = (uint8_t)pick(&state, 0, 1)});
    }
    if (pick(&state, 0, 3) || to.layers[to.n - 1].op != KD_EDGE_OP_CONV2D)
        add_layer(&to, linear(at, pick(&state, 1, 12)));
    return to;
}
