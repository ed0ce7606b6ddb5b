package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/template"
	"unicode"
)

// The help texts of --format, which many commands share.
const (
	formatHelp = `How to print:
'table':            a table with headings (the default)
'table TEMPLATE':   a table of the template's columns
'json':             one JSON object a line
'TEMPLATE':         a Go template, once for each`
	inspectFormatHelp = `How to print:
'json':             JSON, without line breaks
'TEMPLATE':         a Go template`
)

// listing prints rows as a table, as JSON or by a template. A row is a pointer to a
// struct whose methods are the placeholders: those without arguments that give one
// value make up its JSON.
type listing struct {
	format  string
	headers map[string]string // by placeholder
	window  int               // the width that a table has to fit into; 0 for none
	paint   bool              // a table is coloured
}

// write prints the rows, in one write.
func (l listing) write(w io.Writer, n int, row func(int) any) error {
	table := strings.HasPrefix(l.format, "table")
	format := l.format
	switch {
	case table:
		format = format[len("table"):]
	case format == "json":
		format = "{{json .}}"
	}
	format = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.Trim(format, " "))
	var head, body bytes.Buffer
	if parts, ok := plainFormat(format); ok && n > 0 && findMethods(row(0), parts) {
		for i := range n {
			writePlain(&body, parts, row(i))
		}
		for _, p := range parts {
			if !p.field {
				head.WriteString(p.text)
			} else if h, ok := l.headers[p.text]; ok {
				head.WriteString(h)
			} else {
				head.WriteString("<no value>")
			}
		}
	} else {
		t, err := parseTemplate("", format)
		if err != nil {
			return err
		}
		for i := range n {
			if err := t.Execute(&body, row(i)); err != nil {
				return fmt.Errorf("template parsing error: %w", err)
			}
			body.WriteByte('\n')
		}
		if table {
			// What cannot be done to a heading is not done to it.
			t.Funcs(headerFuncs()).Execute(&head, headings(l.headers))
		}
	}
	if !table {
		_, err := body.WriteTo(w)
		return err
	}
	head.WriteByte('\n')
	head.Write(body.Bytes())
	text := head.Bytes()
	if l.window > 0 {
		text = fitTable(text, l.window, 10, 3)
	}
	text = align(text, 10, 3)
	if l.paint {
		text = paintTable(text)
	}
	_, err := w.Write(text)
	return err
}

// headings stand for a row when a table's head is made.
type headings map[string]string

// Label gives the heading of a column that shows a label: its last word.
func (headings) Label(name string) string {
	name = name[strings.LastIndexByte(name, '.')+1:]
	return strings.NewReplacer("-", " ", "_", " ").Replace(name)
}

// part is a piece of a plain format: a text, or a placeholder's name.
type part struct {
	text   string
	field  bool
	method int // of a row, once findMethods has looked for it: a look-up costs more than the call
}

// plainFormat cuts a template that is made of texts and {{.Name}} alone, so that the
// common formats need no template engine.
func plainFormat(format string) (parts []part, ok bool) {
	for format != "" {
		text, rest, found := strings.Cut(format, "{{")
		if text != "" {
			parts = append(parts, part{text: text})
		}
		if !found {
			break
		}
		inner, after, closed := strings.Cut(rest, "}}")
		name := strings.TrimSpace(inner)
		if !closed || !strings.HasPrefix(name, ".") || strings.HasPrefix(inner, "-") || strings.HasSuffix(inner, "-") {
			return nil, false
		}
		name = name[1:]
		if name == "" || !unicode.IsUpper(rune(name[0])) || strings.ContainsFunc(name, func(r rune) bool { return !letter(r) && !unicode.IsDigit(r) }) {
			return nil, false
		}
		parts = append(parts, part{text: name, field: true})
		format = after
	}
	return parts, true
}

// celled is a row that finds its placeholders by itself. To find a method by its name
// reflection makes up types, which is a list's largest part.
type celled interface {
	cell(name string) (text string, ok bool)
}

// findMethods tells whether every placeholder is a method that gives a string, and notes which.
func findMethods(row any, parts []part) bool {
	if row, ok := row.(celled); ok {
		return !slices.ContainsFunc(parts, func(p part) bool {
			_, ok := row.cell(p.text)
			return p.field && !ok
		})
	}
	t := reflect.TypeOf(row)
	for i, p := range parts {
		if !p.field {
			continue
		}
		m, ok := t.MethodByName(p.text)
		if !ok || m.Type.NumIn() != 1 || m.Type.NumOut() != 1 || m.Type.Out(0).Kind() != reflect.String {
			return false
		}
		parts[i].method = m.Index
	}
	return true
}

func writePlain(w *bytes.Buffer, parts []part, row any) {
	own, celled := row.(celled)
	for _, p := range parts {
		switch {
		case !p.field:
			w.WriteString(p.text)
		case celled:
			text, _ := own.cell(p.text)
			w.WriteString(text)
		default:
			w.WriteString(reflect.ValueOf(row).Method(p.method).Call(nil)[0].String())
		}
	}
	w.WriteByte('\n')
}

// rowJSON is what {{json .}} makes of a row: its placeholders by name.
func rowJSON(row any) ([]byte, error) {
	v := reflect.ValueOf(row)
	m := map[string]any{}
	for i := range v.NumMethod() {
		name, f := v.Type().Method(i).Name, v.Method(i)
		if f.Type().NumIn() == 0 && f.Type().NumOut() == 1 {
			if m[name] = f.Call(nil)[0].Interface(); m[name] == "" && name == "Reason" {
				delete(m, name) // ours, and only where it says something
			}
		}
	}
	return json.Marshal(m)
}

// parseTemplate makes a template with Docker's functions.
func parseTemplate(name, text string) (*template.Template, error) {
	t, err := template.New(name).Funcs(templateFuncs()).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("template parsing error: %w", err)
	}
	return t, nil
}

func templateFuncs() template.FuncMap {
	return template.FuncMap{
		"json":  toJSON,
		"split": strings.Split,
		"join":  strings.Join,
		"title": title,
		"lower": strings.ToLower,
		"upper": strings.ToUpper,
		"pad":   pad,
		"truncate": func(s string, n int) string {
			if len(s) < n {
				return s
			}
			return s[:n]
		},
	}
}

// dockerTypes gives the values of templates the names that they have in Docker's errors,
// by which scripts may know them: `can't evaluate field X in type *formatter.…`.
func dockerTypes(text string) string {
	if !strings.Contains(text, "in type ") {
		return text
	}
	return strings.NewReplacer(
		"*cli.psRow", "*formatter.ContainerContext", "*cli.imageRow", "*formatter.imageContext",
		"*cli.historyRow", "*image.historyContext", "*cli.networkRow", "*network.networkContext",
		"*cli.volumeRow", "*formatter.volumeContext", "*cli.statsRow", "*container.statsContext", "*cli.searchRow", "*registry.searchContext",
		"*api.Event", "*events.Message", "cli.infoOut", "system.dockerInfo", "cli.versions", "system.versionInfo",
	).Replace(text)
}

// headerFuncs leave a heading as it is; pad pads it as well.
func headerFuncs() template.FuncMap {
	same := func(s string) string { return s }
	with := func(s, _ string) string { return s }
	return template.FuncMap{
		"json": same, "title": same, "lower": same, "upper": same,
		"split": with, "join": with,
		"truncate": func(s string, _ int) string { return s },
	}
}

// toJSON encodes a value, with <, > and & as they are. A row gives its placeholders.
func toJSON(v any) (string, error) {
	if r, ok := v.(interface{ row() }); ok {
		b, err := rowJSON(r)
		return string(b), err
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return strings.TrimSpace(buf.String()), err
}

// title makes the first letter of each word a capital.
func title(s string) string {
	before := ' '
	return strings.Map(func(r rune) rune {
		prev := before
		before = r
		if unicode.IsLetter(prev) || unicode.IsDigit(prev) || prev == '_' || prev == '\'' {
			return r
		}
		return unicode.ToTitle(r)
	}, s)
}

// pad puts spaces around a text that is not empty.
func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
}

// joinLabels is how a column shows labels: sorted, between commas.
func joinLabels(labels map[string]string) string {
	list := make([]string, 0, len(labels))
	for name, value := range labels {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}
