package web

import (
	"bytes"
	"html/template"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	boxes "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"lighter/oci"
)

// maxReadme bounds what is rendered, in bytes; the rest is left out.
const maxReadme = 256 << 10

// markdown renders what anybody may write: HTML in it is left out, links to anything but
// the web and mail lead nowhere, and pictures become links, as a page loads nothing from
// elsewhere.
var markdown = goldmark.New(
	goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.TaskList,
		extension.NewLinkify(extension.WithLinkifyAllowedProtocols([]string{"http:", "https:"}))),
	goldmark.WithParserOptions(parser.WithASTTransformers(util.Prioritized(tame{}, 900))),
)

// renderReadme gives a README as HTML that is safe to stand in a page.
func renderReadme(source string) template.HTML {
	if len(source) > maxReadme {
		source = strings.ToValidUTF8(source[:maxReadme], "")
	}
	if strings.TrimSpace(source) == "" {
		return ""
	}
	var b bytes.Buffer
	if !calm(source) || markdown.Convert([]byte(source), &b) != nil {
		return template.HTML("<pre>" + template.HTMLEscapeString(source) + "</pre>")
	}
	return template.HTML(b.String())
}

// readme gives it from those rendered a moment ago, or renders it.
func (s *Site) readme(source string) template.HTML {
	d := oci.FromBytes([]byte(source))
	html, ok := s.readmes.get(d)
	if !ok {
		html = renderReadme(source)
		s.readmes.put(d, html)
	}
	return html
}

// The parser's time grows with the square of the signs in one paragraph, and of the
// quotes and lists within each other. Nobody writes as many by hand.
const (
	maxSigns = 1500
	maxNest  = 40
)

// calm reports whether a README is one that is parsed quickly. Others are shown as text.
func calm(source string) bool {
	signs := 0
	for line := range strings.Lines(source) {
		if strings.TrimSpace(line) == "" {
			signs = 0
		}
		nest := 0
		for i := 0; i < len(line); i++ {
			switch c := line[i]; c {
			case '*', '_', '[', ']', '`', '~':
				signs++
				if i+1 < len(line) && line[i+1] == ' ' {
					nest++
				}
			case '>', '-', '+':
				if c == '>' || i+1 < len(line) && line[i+1] == ' ' {
					nest++
				}
			}
			if nest > maxNest && strings.Trim(line[:i+1], "> \t-+*") == "" || signs > maxSigns {
				return false
			}
		}
	}
	return true
}

// tame changes the parsed README before it is rendered.
type tame struct{}

func (tame) Transform(doc *ast.Document, reader text.Reader, _ parser.Context) {
	var pictures []*ast.Image
	var ticks []*boxes.TaskCheckBox
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			n.Level = min(n.Level+1, 6) // the page has its own first heading
		case *ast.Link:
			n.Destination = harmless(n.Destination)
			guard(n)
		case *ast.AutoLink:
			guard(n)
		case *ast.Image:
			pictures = append(pictures, n)
		case *boxes.TaskCheckBox:
			ticks = append(ticks, n)
		}
		return ast.WalkContinue, nil
	})
	for _, box := range ticks { // a sign, not a field without a name
		sign := "☐ "
		if box.IsChecked {
			sign = "☑ "
		}
		box.Parent().ReplaceChild(box.Parent(), box, ast.NewString([]byte(sign)))
	}
	for _, p := range pictures {
		link := ast.NewLink()
		link.Destination = harmless(p.Destination)
		guard(link)
		for kid := p.FirstChild(); kid != nil; kid = p.FirstChild() {
			link.AppendChild(link, kid)
		}
		if link.ChildCount() == 0 {
			link.AppendChild(link, ast.NewString([]byte("picture")))
		}
		// A picture that is a link already only gives its text.
		var with ast.Node = link
		if _, inside := p.Parent().(*ast.Link); inside {
			with = ast.NewEmphasis(1)
			for kid := link.FirstChild(); kid != nil; kid = link.FirstChild() {
				with.AppendChild(with, kid)
			}
		}
		p.Parent().ReplaceChild(p.Parent(), p, with)
	}
}

func guard(n ast.Node) { n.SetAttributeString("rel", []byte("nofollow ugc noopener noreferrer")) }

// harmless keeps links to the web and to mail, and gives "#" for all others.
func harmless(to []byte) []byte {
	low := strings.ToLower(string(to))
	for _, ok := range []string{"https://", "http://", "mailto:", "#"} {
		if strings.HasPrefix(low, ok) {
			return to
		}
	}
	return []byte("#")
}
