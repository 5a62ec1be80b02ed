#include "daemon.h"

int main(int argc, char **argv) {
    return ghnd_main(argc, argv);
}
