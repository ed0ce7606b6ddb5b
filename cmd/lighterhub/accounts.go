package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"lighter/hub/account"
	"lighter/hub/meta"
)

// The commands about accounts open the database themselves. The hub may serve meanwhile:
// it asks the database each time.

// sub is a command below one, such as `user add`.
type sub struct {
	name, words, about string
	least, most        int            // arguments
	makes              bool           // a folder in which no hub has been is made one
	flags              func(*flagSet) // its own; may be nil
	run                func(call) error
}

// flagSet is what the sub-commands' own flags fill in.
type flagSet struct {
	*pflag.FlagSet
	stdin  bool
	owner  string
	title  string
	number int
	scopes []string
	life   time.Duration
	out    bool
}

// call is one sub-command under way.
type call struct {
	ctx  context.Context
	acc  *account.Accounts
	args []string
	flagSet
	o streams
}

// dispatch runs one of a command's sub-commands.
func dispatch(ctx context.Context, name string, subs []sub, args []string, o streams) error {
	list := func() string {
		var b strings.Builder
		fmt.Fprintf(&b, "Usage:  lighterhub %s COMMAND --data DIR\n\nCommands:\n", name)
		for _, s := range subs {
			fmt.Fprintf(&b, "  %-28s %s\n", strings.TrimSpace(s.name+" "+s.words), s.about)
		}
		return b.String()
	}
	if len(args) == 0 {
		return misuse{errors.New("say what to do:\n" + list())}
	}
	if args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		_, err := fmt.Fprint(o.out, list())
		return err
	}
	for _, s := range subs {
		if s.name == args[0] {
			return s.call(ctx, name+" "+s.name, args[1:], o)
		}
	}
	return misuse{fmt.Errorf("%q is no command of %s", args[0], name)}
}

// call reads a sub-command's words, opens the hub's accounts and runs it.
func (s sub) call(ctx context.Context, name string, args []string, o streams) (err error) {
	var p place
	c := call{ctx: ctx, o: o}
	c.FlagSet = flags(strings.TrimSpace(name+" "+s.words)+" --data DIR [OPTIONS]", s.about+".", o)
	p.flags(c.FlagSet)
	if s.flags != nil {
		s.flags(&c.flagSet)
	}
	if err := c.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return err
		}
		return misuse{err}
	}
	if c.args = c.Args(); len(c.args) < s.least || len(c.args) > s.most {
		return misuse{fmt.Errorf("%s takes %s", name, strings.TrimSpace(s.words+" and its options"))}
	}
	cfg, err := p.config()
	if err == nil && !s.makes {
		err = p.there()
	}
	if err != nil {
		return err
	}
	if cfg.Database == "" {
		cfg.Database = filepath.Join(cfg.Data, "hub.db")
	}
	db, err := meta.Open(ctx, cfg.Database)
	if err != nil {
		return err
	}
	if c.acc, err = account.New(ctx, db, account.Options{}); err == nil {
		err = s.run(c)
	}
	return errors.Join(err, db.Close())
}

// table writes rows of cells that stand below each other. What users wrote is without
// signs that a terminal takes for orders.
func (c call) table(rows [][]string) error {
	w := tabwriter.NewWriter(c.o.out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = strings.Map(func(r rune) rune {
				if !strconv.IsPrint(r) {
					return ' '
				}
				return r
			}, row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func day(t time.Time) string { return t.Local().Format(time.DateTime) }

func org(ctx context.Context, args []string, o streams) error {
	return dispatch(ctx, "org", []sub{
		{"add", "NAME", "Make an organisation", 1, 1, false, func(f *flagSet) {
			f.StringVar(&f.owner, "owner", "", "User who owns it (needed)")
			f.StringVar(&f.title, "title", "", "What it is called on its page")
		}, func(c call) error {
			if c.owner == "" {
				return misuse{errors.New("--owner USER says who owns the organisation")}
			}
			return c.acc.Orgs.Create(c.ctx, account.Shell(), c.args[0], c.title, c.owner)
		}},
		{"list", "", "List all organisations", 0, 0, false, nil, orgList},
		{"member", "NAME [USER ROLE]", "Make USER a reader, writer, admin or owner, or none; without, list the members", 1, 3, false, nil, orgMember},
		{"rm", "NAME", "Remove an organisation that owns no repositories", 1, 1, false, nil, func(c call) error {
			return c.acc.Orgs.Remove(c.ctx, account.Shell(), c.args[0])
		}},
	}, args, o)
}

func orgList(c call) error {
	all, err := c.acc.Orgs.Of(c.ctx, account.Shell(), "")
	rows := [][]string{{"NAME", "CREATED", "TITLE"}}
	for _, one := range all {
		rows = append(rows, []string{one.Name, day(one.Created), one.Title})
	}
	if err != nil {
		return err
	}
	return c.table(rows)
}

func orgMember(c call) error {
	name := c.args[0]
	switch len(c.args) {
	case 1:
		if _, err := c.acc.Orgs.Get(c.ctx, account.Shell(), name); err != nil {
			return err
		}
		all, err := c.acc.Orgs.Members(c.ctx, account.Shell(), name)
		if err != nil {
			return err
		}
		rows := [][]string{{"USER", "ROLE", "SINCE"}}
		for _, one := range all {
			rows = append(rows, []string{one.User, one.Role.String(), day(one.Since)})
		}
		return c.table(rows)
	case 3:
		if c.args[2] == "none" {
			return c.acc.Orgs.RemoveMember(c.ctx, account.Shell(), name, c.args[1])
		}
		role, ok := account.ParseRole(c.args[2])
		if !ok {
			return misuse{fmt.Errorf("%q is no role: reader, writer, admin, owner or none", c.args[2])}
		}
		return c.acc.Orgs.SetMember(c.ctx, account.Shell(), name, c.args[1], role)
	}
	return misuse{errors.New("say which role the user gets: reader, writer, admin, owner or none")}
}

func repo(ctx context.Context, args []string, o streams) error {
	public := func(yes bool) func(call) error {
		return func(c call) error { return c.acc.Repos.SetPublic(c.ctx, account.Shell(), c.args[0], yes) }
	}
	return dispatch(ctx, "repo", []sub{
		{"list", "[OWNER]", "List repositories", 0, 1, false, nil, repoList},
		{"public", "NAME", "Let everybody pull from a repository", 1, 1, false, nil, public(true)},
		{"private", "NAME", "Let only members pull from a repository", 1, 1, false, nil, public(false)},
		{"rm", "NAME", "Remove a repository with all that is in it", 1, 1, false, nil, func(c call) error {
			return c.acc.Repos.Remove(c.ctx, account.Shell(), c.args[0])
		}},
	}, args, o)
}

func repoList(c call) error {
	all, err := c.acc.Repos.List(c.ctx, account.Shell(), strings.Join(c.args, ""))
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "SEEN BY", "STARS", "PULLS", "UPDATED", "DESCRIPTION"}}
	for _, one := range all {
		seen := "members"
		if one.Public {
			seen = "all"
		}
		rows = append(rows, []string{one.Name, seen, strconv.FormatInt(one.Stars, 10), strconv.FormatInt(one.Pulls, 10), day(one.Updated), one.Description})
	}
	return c.table(rows)
}

func audit(ctx context.Context, args []string, o streams) error {
	s := sub{"", "[NAME]", "Show what was changed, by whom and from where, newest first: all of it, or what concerns a user or an organisation", 0, 1, false,
		func(f *flagSet) { f.IntVarP(&f.number, "number", "n", 50, "How many changes, at most 1000") }, auditList}
	return s.call(ctx, "audit", args, o)
}

func auditList(c call) error {
	all, err := c.acc.Audit.List(c.ctx, account.Shell(), strings.Join(c.args, ""), 0, c.number)
	if err != nil {
		return err
	}
	rows := [][]string{{"WHEN", "WHO", "FROM", "OWNER", "WHAT", "DETAIL"}}
	for _, e := range all {
		rows = append(rows, []string{day(e.At), e.Who, e.Addr, e.Owner, e.Action, e.Detail})
	}
	return c.table(rows)
}
