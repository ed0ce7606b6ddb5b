package page

import (
	"strings"
	"testing"
	"time"
)

func TestStep(t *testing.T) {
	for in, want := range map[string][2]string{
		`/bin/sh -c #(nop)  CMD ["bash"]`:            {"CMD", `["bash"]`},
		`/bin/sh -c apt-get update`:                  {"RUN", "apt-get update"},
		`|2 A=1 B=2 /bin/sh -c make && make install`: {"RUN", "make\n && make install"},
		`RUN /bin/sh -c echo hi # buildkit`:          {"RUN", "echo hi"},
		`RUN |1 V=3 /bin/sh -c echo $V # buildkit`:   {"RUN", "echo $V"},
		`/bin/bash -o pipefail -c curl x | sh`:       {"RUN", "curl x | sh"},
		`COPY . /app # buildkit`:                     {"COPY", ". /app"},
		"RUN /bin/sh -c a \t   b # buildkit":         {"RUN", "a b"},
		"RUNNER":                                     {"", "RUNNER"},
		"":                                           {"", "(nothing is told about this step)"},
		"crane append \x1b[31m":                      {"", `crane append \x1b[31m`},
	} {
		if word, rest := Step(in); word != want[0] || rest != want[1] {
			t.Errorf("%q: %q %q", in, word, rest)
		}
	}
	if _, rest := Step("RUN " + strings.Repeat("x", 100_000)); len(rest) > 9000 {
		t.Errorf("%d bytes", len(rest))
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Count(1234567):                   "1,234,567",
		Count(999):                       "999",
		Ago(3 * time.Second):             "just now",
		Ago(49 * time.Hour):              "2 days ago",
		Clip("häuser", 2):                "h",
		Local("/a?b=c"):                  "/a?b=c",
		Local("//a"):                     "/",
		Local("/\\a"):                    "/",
		Local("javascript:x"):            "/",
		Short("sha256:0123456789abcdef"): "0123456789ab",
		Short("0123456789abcdef"):        "0123456789ab",
		Sentence("it is so"):             "It is so.",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
