package main

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"lighter/docs"
)

var writeDocs = flag.Bool("docs.write", false, "write docs/reference instead of comparing")

// TestReference: docs/reference/lighterd.md says what the engine's flags say.
func TestReference(t *testing.T) {
	w := &strings.Builder{}
	fmt.Fprintf(w, "The engine. Each option is a flag, or a key of `%s` (`--config-file`), and may stand in one of the two places only.\n"+
		"`lighterd --validate` checks both and exits; SIGHUP has it read the file again. What it means in use: [configuration](../configuration.md).\n\n"+
		"```text\nlighterd [OPTIONS]\n```\n\n## Options\n\n%s\n## Keys of the file\n\nA key of the file is the flag's name. These have another, as they are lists or maps:\n\n", defaultConfig, docs.Options(defaults().flags()))
	for _, name := range slices.Sorted(maps.Keys(fileKeys)) {
		fmt.Fprintf(w, "- `--%s`: `%s`\n", name, fileKeys[name])
	}
	w.WriteString("\n## What dockerd takes and lighterd refuses\n\n")
	for _, names := range slices.Sorted(maps.Keys(later)) {
		fmt.Fprintf(w, "- `--%s`: %s\n", strings.Join(strings.Fields(names), "`, `--"), later[names])
	}
	pages := map[string]string{"lighterd.md": docs.Titled("lighterd", w.String())}
	if err := docs.Keep("../../docs/reference", "lighterd", pages, *writeDocs); err != nil {
		t.Error(err)
	}
}
