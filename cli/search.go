package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"lighter/api"
)

func newSearch(a *App) *cobra.Command {
	var noTrunc bool
	var limit int
	var format string
	filters := newFilters()
	cmd := &cobra.Command{
		Use:                   "search [OPTIONS] TERM",
		Short:                 "Look for repositories at a registry",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "search"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			domain := ""
			if head, _, ok := strings.Cut(args[0], "/"); ok && (strings.ContainsAny(head, ".:") || head == "localhost") {
				domain = head
			}
			auth, err := logins{a}.registryAuth(domain)
			if err != nil {
				return err
			}
			found, err := c.Search(cmd.Context(), args[0], limit, filters.values, auth)
			if err != nil {
				return err
			}
			if format == "" || format == "table" {
				format = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"
			}
			l := listing{format: format, headers: searchHeaders}
			return l.write(a.Out, len(found), func(n int) any {
				return &searchRow{r: found[n], short: !noTrunc, json: strings.Contains(format, "json")}
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&noTrunc, "no-trunc", false, "Cut nothing short")
	f.IntVar(&limit, "limit", 0, "List at most so many")
	f.StringVar(&format, "format", "", formatHelp)
	f.VarP(filters, "filter", "f", "List only what matches (such as \"stars=3\")")
	return cmd
}

var searchHeaders = map[string]string{
	"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL",
}

// searchRow is one repository, by the placeholders of --format.
type searchRow struct {
	r     api.SearchResult
	short bool
	json  bool
}

const shortDescription = 45 // characters

func (*searchRow) row() {}

func (r *searchRow) Name() string { return r.r.Name }

func (r *searchRow) Description() string {
	text := strings.NewReplacer("\n", " ", "\r", " ").Replace(r.r.Description)
	if runes := []rune(text); r.short && len(runes) > shortDescription {
		text = string(runes[:shortDescription-1]) + "…"
	}
	return text
}

func (r *searchRow) StarCount() string { return strconv.Itoa(r.r.StarCount) }

// IsOfficial is a mark in tables, a word in JSON.
func (r *searchRow) IsOfficial() string {
	switch {
	case r.json:
		return strconv.FormatBool(r.r.IsOfficial)
	case r.r.IsOfficial:
		return "[OK]"
	}
	return ""
}
