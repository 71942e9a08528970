/* SPDX-License-Identifier: MIT
 * search_space.c: the space of kd search: {"specs": [...], "keys": {KEY: [VALUE, ...]}, "options":
 * {OPTION: [VALUE, ...]}}. Each spec is multiplied by the values of the keys that it has, and each
 * network by those of the options. What makes no network is left out. "stages": "16x1.5" stands for
 * as many channels as there are stages: 16, 24, 36, ..., to the nearest multiple of 4. */
#include "search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 1 << 20, AXES = 12, STAGES = 8 };

static const char built_in[] =
    "{\"specs\": [\"vgg8_bn\"],\n"
    " \"keys\": {\"convs\": [\"1-1-1\", \"2-2-2\", \"3-3-3\", \"1-1-1-1\", \"1-2-2-2\",\n"
    "  \"2-2-2-2\", \"2-2-3-2\", \"1-1-1-1-1\", \"1-1-2-2-2\", \"2-2-2-2-2\"],\n"
    "  \"stages\": [\"8x1.5\", \"8x2\", \"12x1.5\", \"12x2\", \"16x1.25\", \"16x1.5\", \"16x2\",\n"
    "  \"24x1.25\", \"24x1.5\", \"24x2\", \"32x1\", \"32x1.25\", \"32x1.5\", \"32x2\", \"48x1\",\n"
    "  \"48x1.25\", \"48x1.5\", \"48x2\", \"64x1\", \"64x1.25\", \"64x1.5\", \"64x2\", "
    "\"96x1.5\",\n"
    "  \"128x1.5\"]},\n"
    " \"options\": {\"temperature\": [2, 4]}}\n";

/* An object of lists, of which one value each is chosen. */
typedef struct axes {
    const kd_json_object *of; /* NULL: none */
    const char *key[AXES];
    size_t n, length[AXES], at[AXES];
} axes;

static int wrong(const search *s, const char *where, const char *what)
{
    return cli_fail("%s: %s: %s", s->space_name, where, what);
}

static bool next(axes *x)
{
    size_t a = x->n;
    while (a > 0 && ++x->at[a - 1] == x->length[a - 1]) x->at[--a] = 0;
    return a > 0;
}

/* The value of axis a as text, or NULL with the line printed. *truth: 0 or 1 where the file says
 * false or true, else -1. */
static const char *value_of(const search *s, const axes *x, size_t a, int *truth, char value[120])
{
    char number[40];
    kd_json_object *element;
    if (kd_json_get_element(x->of, x->key[a], x->at[a], &element)) {
        cli_fail_ctx(s->ctx);
        return NULL;
    }
    if (!kd_json_get_bool(element, "value", truth)) *truth = -1;
    const char *text = *truth < 0 ? sweep_text_of(element, "value", number) : *truth ? "1" : "0";
    const int n = text ? snprintf(value, 120, "%s", text) : -1;
    kd_json_object_destroy(element);
    if (n > 0 && n < 120 && !strpbrk(value, " ,\t\n")) return value;
    wrong(s, x->key[a], "a value is a number or a word without spaces and commas");
    return NULL;
}

static int read_axes(const search *s, kd_json_object *root, const char *name,
                     kd_json_object **object, axes *x)
{
    const char *key;
    *x = (axes){0};
    *object = NULL;
    bool there = false;
    for (size_t i = 0; (key = kd_json_key(root, i)); i++) there |= !strcmp(key, name);
    if (!there) return CLI_DONE;
    if (kd_json_get_object(root, name, object)) return wrong(s, name, "it must be an object");
    x->of = *object;
    for (size_t i = 0; (key = kd_json_key(*object, i)); i++) {
        if (i == AXES) return wrong(s, name, "it has too many");
        if (!kd_json_get_count(*object, key, &x->length[i]) || x->length[i] == 0)
            return wrong(s, key, "it has a list of values");
        x->key[x->n++] = key;
    }
    return CLI_DONE;
}

/* ---- networks -------------------------------------------------------------------------------- */

/* Has this complete spec such a key? Those that say stages are not printed where they are usual. */
static bool has_key(const char *complete, const char *key)
{
    char with[60];
    snprintf(with, sizeof with, ",%.40s=", key);
    if (strstr(complete, with)) return true;
    return strstr(complete, ",pool4=") && (!strcmp(key, "convs") || !strcmp(key, "stages"));
}

/* "16x1.5" for so many stages: "16-24-36". Another text stays. */
static bool spread(const char *text, size_t stages, char out[120])
{
    char *end;
    size_t used = 0;
    const double first = strtod(text, &end);
    if (*end != 'x') return snprintf(out, 120, "%s", text) < 120;
    const double growth = strtod(end + 1, &end);
    if (*end || !(first >= 1 && first <= 65536) || !(growth >= 1 && growth <= 16)) return false;
    for (size_t i = 0; i < stages; i++) {
        const double channels = 4 * floor(first * pow(growth, (double)i) / 4 + .5);
        used += (size_t)snprintf(out + used, 120 - used, "%s%.0f", i ? "-" : "",
                                 channels < 4 ? 4 : channels);
        if (used >= 120) return false;
    }
    return true;
}

/* As many as the key convs says, else 5; 0: its value is none, and the line is printed. */
static size_t stages_of(const search *s, const axes *x)
{
    size_t stages = 5;
    char value[120];
    int truth;
    for (size_t a = 0; a < x->n; a++) {
        if (strcmp(x->key[a], "convs")) continue;
        if (!value_of(s, x, a, &truth, value)) return 0;
        stages = 1;
        for (const char *c = value; *c; c++) stages += *c == '-';
    }
    return stages > STAGES ? STAGES : stages;
}

static bool known(const search *s, const char *spec)
{
    for (size_t i = s->n_networks; i-- > 0;)
        if (!strcmp(s->networks[i].spec, spec)) return true;
    return false;
}

static int add_network(search *s, const char *spec)
{
    char complete[KD_SPEC_SIZE], defaults[100];
    const kd_data_info *info = kd_dataset_info(s->data);
    snprintf(defaults, sizeof defaults, "classes=%zu,image=%zu,channels=%zu", info->classes,
             info->height, info->channels);
    s->sieve.considered++;
    if (kd_spec_complete(s->ctx, spec, defaults, complete, sizeof complete)) return CLI_DONE;
    if (known(s, complete)) return CLI_DONE;
    if (s->n_networks == SEARCH_NETWORKS)
        return cli_fail("%s: more than %d networks", s->space_name, (int)SEARCH_NETWORKS);
    search_network *n = &s->networks[s->n_networks];
    if (kd_spec_count(s->ctx, complete, &n->cost.params, &n->cost.macs)) return CLI_DONE;
    n->spec = kd_ctx_alloc(s->ctx, strlen(complete) + 1, 1);
    if (!n->spec) return cli_fail_ctx(s->ctx);
    memcpy(n->spec, complete, strlen(complete) + 1);
    n->cost.latency = (double)NAN;
    s->n_networks++;
    return CLI_DONE;
}

/* The spec at this point of the axes; what makes no network is left out. */
static int add_point(search *s, const char *spec, const axes *x)
{
    char text[KD_SPEC_SIZE], own[120], list[120];
    int truth;
    size_t used = (size_t)snprintf(text, sizeof text, "%s", spec);
    for (size_t a = 0; a < x->n; a++) {
        const char *value = value_of(s, x, a, &truth, own);
        if (!value) return CLI_FAILED;
        if (!strcmp(x->key[a], "stages")) {
            const size_t stages = stages_of(s, x);
            if (stages == 0) return CLI_FAILED;
            if (!spread(value, stages, list))
                return wrong(s, "stages",
                             "a list 16-24-36, or FIRSTxGROWTH with a growth of 1 to 16");
            value = list;
        }
        used += (size_t)snprintf(text + used, sizeof text - used, ",%s=%s", x->key[a], value);
        if (used >= sizeof text) return wrong(s, spec, "the spec is too long");
    }
    return add_network(s, text);
}

/* A spec with the values of those keys that it has. */
static int add_spec(search *s, const char *spec, const axes *keys, bool seen[AXES])
{
    char complete[KD_SPEC_SIZE];
    axes mine = {.of = keys->of};
    if (cli_complete(s->ctx, spec, NULL, 0, complete)) return CLI_FAILED;
    for (size_t a = 0; a < keys->n; a++) {
        if (!has_key(complete, keys->key[a])) continue;
        seen[a] = true;
        mine.key[mine.n] = keys->key[a];
        mine.length[mine.n++] = keys->length[a];
    }
    int status;
    do {
        status = add_point(s, spec, &mine);
        if (!status && cli_interrupted()) status = CLI_INTERRUPTED;
    } while (!status && next(&mine));
    return status;
}

static int read_networks(search *s, const kd_json_object *root, const axes *keys)
{
    enum { SPEC_LIMIT = 120 };
    size_t count;
    bool seen[AXES] = {false};
    int status = CLI_DONE;
    if (!kd_json_get_count(root, "specs", &count) || count == 0)
        return wrong(s, "specs", "it must be a list of specs");
    s->networks = kd_ctx_alloc(s->ctx, SEARCH_NETWORKS, sizeof *s->networks);
    if (!s->networks) return cli_fail_ctx(s->ctx);
    for (size_t i = 0; i < count && !status; i++) {
        kd_json_object *element;
        if (kd_json_get_element(root, "specs", i, &element)) return cli_fail_ctx(s->ctx);
        const char *spec = kd_json_get_string(element, "value");
        if (spec && strlen(spec) < SPEC_LIMIT)
            status = add_spec(s, spec, keys, seen);
        else
            status = wrong(s, "specs", "a spec is a text");
        kd_json_object_destroy(element);
    }
    for (size_t a = 0; a < keys->n && !status; a++)
        if (!seen[a]) status = wrong(s, keys->key[a], "none of the specs has this key");
    if (!status && s->n_networks == 0)
        status = wrong(s, "none of it makes a network", kd_ctx_error(s->ctx));
    return status;
}

/* ---- options --------------------------------------------------------------------------------- */

/* "--temperature=2"; of a truth "--nesterov" or "--no-nesterov". False: the line is printed. */
static bool option_of(const search *s, const axes *x, size_t a, char word[180])
{
    char value[120], key[50];
    int truth;
    if (!value_of(s, x, a, &truth, value)) return false;
    snprintf(key, sizeof key, "%s", x->key[a]);
    for (char *c = key; *c; c++)
        if (*c == '_') *c = '-';
    if (truth < 0)
        snprintf(word, 180, "--%s=%s", key, value);
    else
        snprintf(word, 180, truth ? "--%s" : "--no-%s", key);
    return true;
}

static int read_points(search *s, axes *options)
{
    size_t all = 1;
    for (size_t a = 0; a < options->n; a++) {
        all = all > SEARCH_POINTS ? all : all * options->length[a];
        if (!strcmp(options->key[a], "seed") || !strcmp(options->key[a], "epochs"))
            return wrong(s, options->key[a], "it is the same for all candidates");
        if (!strcmp(options->key[a], "feature")) return wrong(s, "feature", search_no_feature);
    }
    if (all > SEARCH_POINTS) return wrong(s, "options", "they make too many combinations");
    s->points = kd_ctx_alloc(s->ctx, all, sizeof *s->points);
    if (!s->points) return cli_fail_ctx(s->ctx);
    do {
        char *text = s->points[s->n_points++];
        size_t used = 0;
        text[0] = 0;
        for (size_t a = 0; a < options->n; a++) {
            char word[180];
            if (!option_of(s, options, a, word)) return CLI_FAILED;
            used +=
                (size_t)snprintf(text + used, SEARCH_OPTIONS - used, "%s%s", used ? " " : "", word);
            if (used >= SEARCH_OPTIONS) return wrong(s, "options", "they are too long");
        }
    } while (next(options));
    return CLI_DONE;
}

/* ---- the file -------------------------------------------------------------------------------- */

const char search_no_feature[] =
    "a search keeps the teacher's logits alone, and a feature reads more";

int search_open_space(search *s)
{
    s->space_name = s->args->space ? s->args->space : "the built-in space";
    if (s->args->space)
        return kd_file_read_all(s->ctx, s->args->space, LARGEST, &s->space, &s->space_size)
                   ? cli_fail_ctx(s->ctx)
                   : CLI_DONE;
    s->space_size = sizeof built_in - 1;
    s->space = kd_ctx_alloc(s->ctx, sizeof built_in, 1);
    if (!s->space) return cli_fail_ctx(s->ctx);
    memcpy(s->space, built_in, sizeof built_in);
    return CLI_DONE;
}

static int check_keys(const search *s, const kd_json_object *root)
{
    const char *key;
    for (size_t i = 0; (key = kd_json_key(root, i)); i++)
        if (strcmp(key, "specs") && strcmp(key, "keys") && strcmp(key, "options"))
            return wrong(s, key, "it is none of specs, keys, options");
    return CLI_DONE;
}

int search_read_space(search *s)
{
    kd_json_object *root = NULL, *keys = NULL, *options = NULL;
    axes of_keys, of_options;
    int status = search_open_space(s);
    if (status) return status;
    if (kd_json_parse(s->ctx, s->space, s->space_size, &root))
        return cli_fail("%s: %s", s->space_name, kd_ctx_error(s->ctx));
    status = check_keys(s, root);
    if (!status) status = read_axes(s, root, "keys", &keys, &of_keys);
    if (!status) status = read_axes(s, root, "options", &options, &of_options);
    if (!status) status = read_networks(s, root, &of_keys);
    if (!status) status = read_points(s, &of_options);
    kd_json_object_destroy(keys);
    kd_json_object_destroy(options);
    kd_json_object_destroy(root);
    return status;
}
