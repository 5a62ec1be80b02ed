/* ghn graph: the graph that the hypernetwork sees, as text, for Graphviz, or as JSON. */
#include "graph/graph.h"

#include <string.h>

#include "cli.h"
#include "request.h"

const char cli_graph_help[] =
    "usage: ghn graph REQUEST.json [--dot | --json]\n"
    "\n"
    "Shows the graph that a hypernetwork sees of a network. REQUEST.json holds the body of a\n"
    "request, or an arch, genotype or graph by itself; - is standard input. Each line of the\n"
    "table is a node: its number, operation, name, shape, and the nodes before it.\n"
    "\n"
    "  --dot    for Graphviz: ghn graph net.json --dot | dot -Tsvg >net.svg\n"
    "  --json   the graph form, which is a request of its own as {\"graph\": ...}\n";

/* A colour for each primitive: weights blue, norms and biases green, what has no parameters grey.
 */
static const char *colour(enum ghn_primitive op) {
    switch (op) {
    case GHN_PRIMITIVE_CONV:
    case GHN_PRIMITIVE_SEP_CONV:
    case GHN_PRIMITIVE_DIL_CONV:
        return "#c6dbef";
    case GHN_PRIMITIVE_MSA:
    case GHN_PRIMITIVE_CSE:
    case GHN_PRIMITIVE_POS_ENC:
        return "#fdd0a2";
    case GHN_PRIMITIVE_BN:
    case GHN_PRIMITIVE_LN:
    case GHN_PRIMITIVE_BIAS:
        return "#c7e9c0";
    case GHN_PRIMITIVE_INPUT:
        return "#ffffb3";
    default:
        return "#e8e8e8";
    }
}

/* A quoted string of the dot language. */
static void print_escaped(const char *text) {
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
}

static void print_dot(const struct ghn_graph *graph, const char *name) {
    char shape[GHN_SHAPE_TEXT];
    fputs("digraph \"", stdout);
    print_escaped(name);
    puts("\" {\n"
         "  node [shape=box, style=\"filled,rounded\", fontname=\"sans-serif\", fontsize=10];\n"
         "  edge [color=\"#606060\", arrowsize=0.6];");
    for (int v = 0; v < graph->n_nodes; v++) {
        const struct ghn_graph_node *node = &graph->nodes[v];
        printf("  n%d [fillcolor=\"%s\", label=\"%s", v, colour(node->op),
               ghn_primitive_name(node->op));
        if (node->name) {
            fputs("\\n", stdout);
            print_escaped(node->name);
        }
        if (node->shape.ndim > 0)
            printf("\\n%s", ghn_shape_text(&node->shape, shape, sizeof(shape)));
        puts("\"];");
        for (int i = 0; i < node->n_preds; i++)
            printf("  n%d -> n%d;\n", node->preds[i], v);
    }
    puts("}");
}

static void print_nodes(const struct ghn_graph *graph) {
    char shape[GHN_SHAPE_TEXT];
    int width = 4;
    for (int v = 0; v < graph->n_nodes; v++) {
        int length = graph->nodes[v].name ? (int)strlen(graph->nodes[v].name) : 0;
        width = length > width ? length : width;
    }
    printf("%s%5s  %-8s  %-*s  %-20s  %s%s\n", cli_bold(stdout), "node", "op", width, "name",
           "shape", "after", cli_plain(stdout));
    for (int v = 0; v < graph->n_nodes; v++) {
        const struct ghn_graph_node *node = &graph->nodes[v];
        printf("%5d  %-8s  %-*s  %-20s ", v, ghn_primitive_name(node->op), width,
               node->name ? node->name : "",
               node->shape.ndim > 0 ? ghn_shape_text(&node->shape, shape, sizeof(shape)) : "");
        for (int i = 0; i < node->n_preds; i++)
            printf(" %d", node->preds[i]);
        putchar('\n');
    }
}

static void print_total(const char *name, int64_t n) {
    char count[CLI_NUMBER];
    printf("%-22s %s\n", name, cli_count(n, count));
}

static void print_totals(const struct ghn_graph *graph, const struct ghn_arch *arch) {
    char bytes[CLI_NUMBER];
    int64_t predicted = 0, initialised = 0, off_path = 0;
    for (int i = 0; i < graph->n_slots; i++) {
        const struct ghn_slot *slot = &graph->slots[i];
        *(slot->kind == GHN_SLOT_INIT       ? &initialised
          : slot->kind == GHN_SLOT_OFF_PATH ? &off_path
                                            : &predicted) += slot->numel;
    }
    putchar('\n');
    print_total("nodes", graph->n_nodes);
    print_total("edges", graph->n_edges);
    print_total("with virtual ones", graph->n_virtual_edges);
    print_total("sum of distances", graph->distance_sum);
    print_total("tensors", graph->n_slots);
    print_total("parameters", predicted + initialised + off_path);
    if (initialised > 0)
        print_total("  not predicted", initialised);
    if (off_path > 0)
        print_total("  off the path", off_path);
    if (arch)
        print_total("multiply-adds", arch->flops);
    printf("%-22s %s in f32\n", "answer",
           cli_bytes(4 * (uint64_t)(predicted + initialised), bytes));
}

static int print_json(const struct ghn_graph *graph) {
    return cli_print_json(ghn_graph_to_json(graph), JSON_COMPACT);
}

int cli_graph(int argc, char **argv) {
    bool dot = false, as_json = false;
    const struct cli_option options[] = {{.name = "dot", .flag = &dot},
                                         {.name = "json", .flag = &as_json}};
    int first, code;
    if (!cli_options(argc, argv, options, 2, cli_graph_help, 1, 1, &first, &code))
        return code;
    if (dot && as_json)
        return cli_usage("graph", "--dot and --json exclude each other");
    struct cli_request request = {0};
    struct ghn_err err = GHN_ERR_INIT;
    code = CLI_OK;
    if (cli_request_read(argv[first], &request, &err) != GHN_OK ||
        cli_request_decode(&request, argv[first], &err) != GHN_OK) {
        code = cli_fail(&err, NULL);
    } else if (dot) {
        print_dot(request.graph, cli_request_name(&request));
    } else if (as_json) {
        code = print_json(request.graph);
    } else {
        print_nodes(request.graph);
        print_totals(request.graph, request.arch);
    }
    cli_request_done(&request);
    return code;
}
