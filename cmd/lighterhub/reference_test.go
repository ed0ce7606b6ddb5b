package main

import (
	"bytes"
	"flag"
	"fmt"
	"strings"
	"testing"

	"lighter/docs"
)

var writeDocs = flag.Bool("docs.write", false, "write docs/reference instead of comparing")

// TestReference: docs/reference/lighterhub.md says what the hub's commands say.
func TestReference(t *testing.T) {
	w := &strings.Builder{}
	w.WriteString("The hub: a registry for a team. How to run one: [the hub](../hub.md).\n\n```text\nlighterhub COMMAND\n```\n")
	for _, c := range commands() {
		if c.name == "version" {
			continue // it has neither flags nor help
		}
		var out bytes.Buffer
		if code := run(t.Context(), []string{c.name, "--help"}, streams{strings.NewReader(""), &out, &out}); code != 0 {
			t.Fatalf("lighterhub %s --help: exit code %d: %s", c.name, code, out.String())
		}
		fmt.Fprintf(w, "\n## lighterhub %s\n\n%s.\n\n```text\n%s\n```\n", c.name, c.about, strings.TrimSpace(out.String()))
	}
	pages := map[string]string{"lighterhub.md": docs.Titled("lighterhub", w.String())}
	if err := docs.Keep("../../docs/reference", "lighterhub", pages, *writeDocs); err != nil {
		t.Error(err)
	}
}
