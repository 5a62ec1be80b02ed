/* What one pass over memory can do: a batch norm along with the activation behind it and the sum
 * between the two, and the same ReLU of one value once instead of many times. */
#include <string.h>

#include "arch/op.h"
#include "nn/activation.h"
#include "nn/run_impl.h"

static bool is(const struct ghn_arch_node *node, const char *op) {
    return node->op && strcmp(node->op->name, op) == 0;
}

static int *filled(struct ghn_arena *arena, int n, int value) {
    int *ret = ghn_arena_array(arena, (size_t)n, sizeof *ret);
    for (int i = 0; ret && i < n; i++)
        ret[i] = value;
    return ret;
}

/* ReLUs of the same value, which DeepNets have at the head of every operation of a cell. */
static void merge_equal(const struct ghn_arch *arch, int *same_as, int *relu_of) {
    for (int i = 0; i < arch->n_nodes; i++) {
        const struct ghn_arch_node *node = &arch->nodes[i];
        same_as[i] = i;
        if (!node->on_path || !is(node, "relu"))
            continue;
        int input = same_as[node->inputs[0]];
        if (relu_of[input] >= 0)
            same_as[i] = relu_of[input];
        else
            relu_of[input] = i;
    }
}

/* How often each node's value is used, and by which node last. */
static void count_uses(const struct ghn_arch *arch, const int *same_as, int *uses, int *user) {
    uses[same_as[arch->output]]++;
    for (int i = 0; i < arch->n_nodes; i++) {
        const struct ghn_arch_node *node = &arch->nodes[i];
        if (!node->on_path || same_as[i] != i)
            continue;
        for (int k = 0; k < node->n_inputs; k++) {
            uses[same_as[node->inputs[k]]]++;
            user[same_as[node->inputs[k]]] = i;
        }
    }
}

/* The other operand of an add of two different values of one shape; -1 if it is anything else. */
static int other_operand(const struct ghn_arch *arch, const int *same_as, int add, int one) {
    const struct ghn_arch_node *node = &arch->nodes[add];
    if (!is(node, "add") || node->n_inputs != 2)
        return -1;
    int a = same_as[node->inputs[0]], b = same_as[node->inputs[1]];
    int other = a == one ? b : a;
    if (a == b || !ghn_shape_equal(&arch->nodes[a].shape, &arch->nodes[b].shape))
        return -1;
    return other;
}

static void fuse_batch_norm(const struct ghn_arch *arch, int bn, const int *uses, const int *user,
                            struct ghn__fusion *f) {
    int tail = bn;
    if (uses[bn] != 1 || user[bn] < 0)
        return;
    int next = user[bn], other = other_operand(arch, f->same_as, next, bn);
    if (other >= 0 && f->owner[next] < 0 && !f->absorbed[next]) {
        f->residual[bn] = other;
        tail = next;
        next = uses[tail] == 1 ? user[tail] : -1;
        if (next >= 0 && !is(&arch->nodes[next], "relu"))
            next = -1;
    }
    if (next >= 0 && arch->nodes[next].n_inputs == 1 &&
        ghn__activation_is_fusable(arch->nodes[next].op)) {
        f->activation[bn] = next;
        if (tail != bn)
            f->absorbed[tail] = true;
        tail = next;
    }
    if (tail != bn) {
        f->absorbed[bn] = true;
        f->owner[tail] = bn;
    }
}

enum ghn_status ghn__fuse(const struct ghn_arch *arch, struct ghn_arena *arena,
                          struct ghn__fusion *ret, struct ghn_err *err) {
    int n = arch->n_nodes;
    struct ghn__fusion f = {.same_as = filled(arena, n, 0),
                            .owner = filled(arena, n, -1),
                            .absorbed = ghn_arena_array(arena, (size_t)n, sizeof(bool)),
                            .residual = filled(arena, n, -1),
                            .activation = filled(arena, n, -1)};
    int *relu_of = filled(arena, n, -1), *uses = filled(arena, n, 0), *user = filled(arena, n, -1);
    if (!f.same_as || !f.owner || !f.absorbed || !f.residual || !f.activation || !relu_of ||
        !uses || !user)
        return ghn_fail_memory(err);
    merge_equal(arch, f.same_as, relu_of);
    count_uses(arch, f.same_as, uses, user);
    for (int i = 0; i < n; i++)
        if (arch->nodes[i].on_path && is(&arch->nodes[i], "batch_norm2d"))
            fuse_batch_norm(arch, i, uses, user, &f);
    *ret = f;
    return GHN_OK;
}
