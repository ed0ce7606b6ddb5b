package web

import (
	"strings"
	"testing"
	"time"

	"lighter/hub/layers"
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
		if word, rest := step(in); word != want[0] || rest != want[1] {
			t.Errorf("%q: %q %q", in, word, rest)
		}
	}
	if _, rest := step("RUN " + strings.Repeat("x", 100_000)); len(rest) > 9000 {
		t.Errorf("%d bytes", len(rest))
	}
}

func TestReadme(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"# One\n###### Six":               "<h2>One</h2>\n<h6>Six</h6>\n",
		"[x](JaVaScRiPt:alert(1))":        `<p><a href="#" rel="nofollow ugc noopener noreferrer">x</a></p>` + "\n",
		"[x](/etc/passwd)":                `<p><a href="#" rel="nofollow ugc noopener noreferrer">x</a></p>` + "\n",
		"![alt](https://x.example/a.png)": `<p><a href="https://x.example/a.png" rel="nofollow ugc noopener noreferrer">alt</a></p>` + "\n",
		"![](https://x.example/a.png)":    `<p><a href="https://x.example/a.png" rel="nofollow ugc noopener noreferrer">picture</a></p>` + "\n",
		"<b onclick=x>bold</b>":           "<p><!-- raw HTML omitted -->bold<!-- raw HTML omitted --></p>\n",
		"a & b < c":                       "<p>a &amp; b &lt; c</p>\n",
	} {
		if got := string(renderReadme(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What grows faster than the text that makes it would stop the hub.
func TestReadmeBombs(t *testing.T) {
	for name, in := range map[string]string{
		"brackets": strings.Repeat("[", 100_000), "links": strings.Repeat("[a](", 50_000), "emphasis": strings.Repeat("*a_", 60_000),
		"quotes": strings.Repeat(">", 100_000), "lists": strings.Repeat("- ", 100_000), "code": strings.Repeat("`a``", 60_000), "tables": "a|b\n-|-\n" + strings.Repeat("|", 200_000),
		"many paragraphs": strings.Repeat(strings.Repeat("*a_", 450)+"\n\n", 190), "many of links": strings.Repeat(strings.Repeat("[a](", 740)+"\n\n", 88),
		"nested": strings.Repeat("> - ", 60_000), "deep lists": deepLists(), "html": strings.Repeat("<!--", 60_000), "pictures": strings.Repeat("![", 100_000),
	} {
		began := time.Now()
		renderReadme(in)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s take %s", name, took)
		}
	}
}

func TestHelpers(t *testing.T) {
	for got, want := range map[string]string{
		count(1234567):       "1,234,567",
		count(999):           "999",
		ago(3 * time.Second): "just now",
		ago(49 * time.Hour):  "2 days ago",
		clip("häuser", 2):    "h",
		agent("Mozilla/5.0 (X11; Linux x86_64; rv:1) Firefox/140.0"): "Firefox on Linux",
		agent(""): "An unknown browser",
		changeSize(layers.Change{Op: layers.Changed, Size: 2, Was: 1}): "1B → 2B",
		local("/a?b=c"):          "/a?b=c",
		local("//a"):             "/",
		local("/\\a"):            "/",
		local("javascript:x"):    "/",
		string(repoURL("a/b c")): "/r/a/b%20c",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// deepLists is a list in a list, and so on, as deep as fits.
func deepLists() string {
	var b strings.Builder
	for i := 0; b.Len() < maxReadme-2*i; i++ {
		b.WriteString(strings.Repeat("  ", i) + "- a\n")
	}
	return b.String()
}
