package web

import (
	"strings"
	"testing"
	"time"

	"lighter/hub/layers"
)

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
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s take %s", name, took)
		}
	}
}

func TestHelpers(t *testing.T) {
	for got, want := range map[string]string{
		agent("Mozilla/5.0 (X11; Linux x86_64; rv:1) Firefox/140.0"): "Firefox on Linux",
		agent(""): "An unknown browser",
		changeSize(layers.Change{Op: layers.Changed, Size: 2, Was: 1}): "1B → 2B",
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
