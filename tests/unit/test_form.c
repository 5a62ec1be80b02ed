/* lib/graph/form: which network a request holds, and what else it may hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"
#include "graph/form.h"

static const char arch_text[] =
    "{\"format\":\"ghn-arch/1\",\"name\":\"tiny\",\"input\":{\"name\":\"input\",\"shape\":[3,8,8]},"
    "\"nodes\":[{\"name\":\"conv\",\"op\":\"conv2d\",\"inputs\":[\"input\"],"
    "\"attrs\":{\"out_channels\":4,\"kernel\":[3,3],\"bias\":false}},"
    "{\"name\":\"pool\",\"op\":\"adaptive_avg_pool2d\",\"inputs\":[\"conv\"],"
    "\"attrs\":{\"output_size\":[1,1]}},"
    "{\"name\":\"flat\",\"op\":\"flatten\",\"inputs\":[\"pool\"]},"
    "{\"name\":\"fc\",\"op\":\"linear\",\"inputs\":[\"flat\"],\"attrs\":{\"out_features\":10}}],"
    "\"output\":\"fc\"}";

static const char graph_text[] =
    "{\"nodes\":[{\"op\":\"input\"},{\"op\":\"conv\",\"name\":\"c.weight\",\"shape\":[4,3,3,3]},"
    "{\"op\":\"glob_avg\"},{\"op\":\"conv\",\"name\":\"fc.weight\",\"shape\":[10,4]}],"
    "\"edges\":[[0,1],[1,2],[2,3]]}";

static const char genotype_text[] =
    "{\"genotype\":{\"normal\":[[\"conv_3x3\",0],[\"skip_connect\",1]],\"normal_concat\":[2],"
    "\"reduce\":[[\"max_pool_3x3\",0],[\"skip_connect\",1]],\"reduce_concat\":[2]},"
    "\"net\":{\"C\":32,\"n_cells\":3,\"ks\":3,\"norm\":\"bnorm\",\"preproc\":true,"
    "\"glob_avg\":true,\"stem_pool\":false,\"stem_type\":0,\"C_mult\":2,\"fc_layers\":1,"
    "\"fc_dim\":256},\"input\":[3,32,32],\"num_classes\":10}";

static const char *const also[] = {"model", "dtype", NULL};

/* Decodes text put into format (which has one %s), and says whether there was an architecture. */
static enum ghn_status decode(const char *format, const char *text, bool allow_bare,
                              bool *ret_has_arch, struct ghn_err *err) {
    char request[4096];
    *err = (struct ghn_err)GHN_ERR_INIT;
    assert_true(snprintf(request, sizeof(request), format, text) < (int)sizeof(request));
    json_t *root = NULL;
    assert_int_equal(ghn_json_load(request, strlen(request), NULL, &root, err), GHN_OK);
    const struct ghn_request_options options = {.also = also, .allow_bare = allow_bare};
    struct ghn_graph *graph = NULL;
    struct ghn_arch *arch = NULL;
    enum ghn_status status = ghn_graph_from_request(root, &options, &graph, &arch, err);
    json_decref(root);
    assert_true((status == GHN_OK) == (graph != NULL));
    if (graph)
        assert_true(graph->n_nodes >= 4 && graph->n_slots >= 2);
    if (ret_has_arch)
        *ret_has_arch = arch != NULL;
    ghn_graph_free(graph);
    ghn_arch_free(arch);
    return status;
}

static void each_form_is_decoded(void **state) {
    (void)state;
    struct ghn_err err;
    bool has_arch;
    assert_int_equal(decode("{\"arch\":%s,\"dtype\":\"f16\"}", arch_text, false, &has_arch, &err),
                     GHN_OK);
    assert_true(has_arch);
    assert_int_equal(decode("{\"graph\":%s}", graph_text, false, &has_arch, &err), GHN_OK);
    assert_false(has_arch);
    assert_int_equal(decode("%s", genotype_text, false, &has_arch, &err), GHN_OK);
    assert_true(has_arch);
}

static void bare_forms_only_when_allowed(void **state) {
    (void)state;
    struct ghn_err err;
    assert_int_equal(decode("%s", arch_text, true, NULL, &err), GHN_OK);
    assert_int_equal(decode("%s", graph_text, true, NULL, &err), GHN_OK);
    assert_int_equal(decode("{\"arch\":%s}", arch_text, true, NULL, &err), GHN_OK);
    assert_int_equal(decode("%s", arch_text, false, NULL, &err), GHN_MISSING_FIELD);
    assert_int_equal(decode("%s", graph_text, false, NULL, &err), GHN_MISSING_FIELD);
}

static void a_request_has_one_network(void **state) {
    (void)state;
    struct ghn_err err;
    assert_int_equal(decode("%s", "{}", false, NULL, &err), GHN_MISSING_FIELD);
    assert_int_equal(decode("%s", "[]", false, NULL, &err), GHN_WRONG_TYPE);
    assert_int_equal(decode("{\"graph\":{},\"arch\":%s}", arch_text, false, NULL, &err),
                     GHN_UNKNOWN_FIELD);
    assert_string_equal(err.where, "graph");
    assert_int_equal(decode("{\"arch\":%s}", "null", false, NULL, &err), GHN_WRONG_TYPE);
    assert_string_equal(err.where, "arch");
}

static void unknown_fields_are_refused(void **state) {
    (void)state;
    struct ghn_err err;
    assert_int_equal(decode("{\"arch\":%s,\"dtpye\":\"f16\"}", arch_text, false, NULL, &err),
                     GHN_UNKNOWN_FIELD);
    assert_string_equal(err.where, "dtpye");
    /* A genotype's companions are no part of the other forms. */
    assert_int_equal(decode("{\"arch\":%s,\"num_classes\":10}", arch_text, false, NULL, &err),
                     GHN_UNKNOWN_FIELD);
    assert_string_equal(err.where, "num_classes");
}

static void errors_have_paths_from_the_root(void **state) {
    (void)state;
    struct ghn_err err;
    assert_int_equal(decode("{\"arch\":%s}", "{\"format\":\"ghn-arch/1\"}", false, NULL, &err),
                     GHN_MISSING_FIELD);
    assert_int_equal(strncmp(err.where, "arch", 4), 0);
    assert_int_equal(decode("{\"graph\":{\"nodes\":%s,\"edges\":[]}}", "[{\"op\":\"conv9\"}]",
                            false, NULL, &err),
                     GHN_UNKNOWN_OP);
    assert_int_equal(strncmp(err.where, "graph.nodes[0]", 14), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_is_decoded),
        cmocka_unit_test(bare_forms_only_when_allowed),
        cmocka_unit_test(a_request_has_one_network),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(errors_have_paths_from_the_root),
    };
    return cmocka_run_group_tests_name("form", tests, NULL, NULL);
}
