package web

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"lighter/hub/account"
	"lighter/hub/meta"
	"lighter/page"
)

// ownerView is a user or an organisation.
type ownerView struct {
	Name, Title, Description string
	Org, Mirror              bool
	Created                  time.Time
	Repos                    []repoRow
	Pages                    pager
	Members                  []account.Member // for members to see
	Orgs                     []account.Org    // for the user to see
	MayPush, MayManage       bool
	Push                     string
}

// kind tells what a name stands for: user or org.
func (s *catalog) kind(ctx context.Context, name string) (kind string, err error) {
	err = s.db.QueryRow(ctx, `SELECT kind FROM names WHERE name = ?`, strings.ToValidUTF8(name, "?")).Scan(&kind)
	if errors.Is(err, meta.ErrNotFound) {
		err = notThere
	}
	return kind, err
}

// owner is the page of a user or an organisation.
func (s *Site) owner(c *call) error {
	const each = 20
	ctx, a, v, now := c.r.Context(), s.cfg.Accounts, ownerView{Name: c.r.PathValue("name")}, c.number("page")
	kind, err := s.kind(ctx, v.Name)
	if errors.Is(err, notThere) { // another registry's, when there is anything of it
		kind = "mirror"
		if n, failed := s.countRepos(ctx, c.who, `r.owner = ?`, []any{v.Name}); n > 0 {
			err = failed
		}
	}
	switch {
	case err != nil:
		return err
	case kind == "mirror":
		v.Title, v.Mirror = v.Name, true
	case kind == "org":
		org, err := a.Orgs.Get(ctx, c.who, v.Name)
		if err != nil {
			return err
		}
		v.Org, v.Title, v.Description, v.Created = true, org.Title, org.Description, org.Created
		v.MayPush, v.MayManage = org.Role >= account.Writer, org.Role >= account.Reader
		if v.MayManage {
			if v.Members, err = a.Orgs.Members(ctx, c.who, v.Name); err != nil {
				return err
			}
		}
	default:
		u, err := a.Users.Get(ctx, v.Name)
		if err != nil {
			return err
		}
		v.Title, v.Created, v.MayPush = u.Title, u.Created, c.who.User == v.Name
		if v.MayPush {
			if v.Orgs, err = a.Orgs.Of(ctx, c.who, v.Name); err != nil {
				return err
			}
		}
	}
	v.Push = "lighter push " + s.image(c.r, v.Name+"/app", "latest")
	total, err := s.countRepos(ctx, c.who, `r.owner = ?`, []any{v.Name})
	if err != nil {
		return err
	}
	v.Pages = c.pages(now, total, each)
	if v.Repos, err = s.repos(ctx, c.who, `r.owner = ?`, []any{v.Name}, `r.updated DESC, r.name`, each, (now-1)*each); err != nil {
		return err
	}
	return c.show("owner", view{Title: v.Name, Data: v})
}

type newOrgData struct{ Name, Title string }

func (s *Site) newOrgForm(c *call) error {
	if err := c.user(); err != nil {
		return err
	}
	return c.show("neworg", view{Title: "New organisation", Data: newOrgData{}})
}

func (s *Site) newOrg(c *call) error {
	if err := c.user(); err != nil {
		return err
	}
	name, title := strings.ToLower(strings.TrimSpace(c.field("name"))), c.field("title")
	if err := s.cfg.Accounts.Orgs.Create(c.r.Context(), c.who, name, title, c.who.User); err != nil {
		return c.again("neworg", view{Title: "New organisation", Data: newOrgData{page.Clip(name, 64), page.Clip(title, 100)}}, err)
	}
	return c.done("/u/"+url.PathEscape(name)+"/settings", "saved")
}

func (s *Site) orgSettings(c *call) error { return s.orgPage(c, nil) }

// orgPage is where an organisation is managed. Its members see it, its owners use it.
func (s *Site) orgPage(c *call, wrong error) error {
	if err := c.user(); err != nil {
		return err
	}
	ctx, a := c.r.Context(), s.cfg.Accounts
	org, err := a.Orgs.Get(ctx, c.who, c.r.PathValue("name"))
	if err != nil || org.Role < account.Reader {
		return errors.Join(err, notThere)
	}
	data := struct {
		account.Org
		Owner   bool
		Members []account.Member
		Roles   []string
		Events  []account.Event
	}{Org: org, Owner: org.Role == account.Owner}
	for _, r := range []account.Role{account.Reader, account.Writer, account.Admin, account.Owner} {
		data.Roles = append(data.Roles, r.String())
	}
	if data.Members, err = a.Orgs.Members(ctx, c.who, org.Name); err != nil {
		return err
	}
	if data.Owner {
		if data.Events, err = a.Audit.List(ctx, c.who, org.Name, 0, 30); err != nil {
			return err
		}
	}
	p := view{Title: "Manage " + org.Name, Data: data}
	if wrong != nil {
		return c.again("orgsettings", p, wrong)
	}
	return c.show("orgsettings", p)
}

// orgForms are an organisation's: each says what was done, and where that is shown, empty for the settings. Who may
// do it is account.Orgs' to say.
var orgForms = map[string]func(c *call, name string) (notice, back string, err error){
	"edit": func(c *call, name string) (string, string, error) {
		return "saved", "", c.s.cfg.Accounts.Orgs.Edit(c.r.Context(), c.who, name, c.field("title"), c.field("description"))
	},
	"member": func(c *call, name string) (string, string, error) {
		role, ok := account.ParseRole(c.field("role"))
		if !ok {
			return "", "", bad("choose a role")
		}
		return "saved", "", c.s.cfg.Accounts.Orgs.SetMember(c.r.Context(), c.who, name, c.field("user"), role)
	},
	"remove-member": func(c *call, name string) (_, back string, err error) {
		if c.field("user") == c.who.User {
			back = "/u/" + url.PathEscape(name)
		}
		return "left", back, c.s.cfg.Accounts.Orgs.RemoveMember(c.r.Context(), c.who, name, c.field("user"))
	},
	"delete": func(c *call, name string) (string, string, error) {
		if strings.TrimSpace(c.field("confirm")) != name {
			return "", "", bad("to delete the organisation, type its name %s", name)
		}
		return "deleted", "/u/" + url.PathEscape(c.who.User), c.s.cfg.Accounts.Orgs.Remove(c.r.Context(), c.who, name)
	},
}

// changeOrg takes the forms of an organisation.
func (s *Site) changeOrg(c *call) error {
	if err := c.user(); err != nil {
		return err
	}
	name := c.r.PathValue("name")
	do := orgForms[c.r.PathValue("what")]
	if do == nil {
		return s.orgPage(c, notThere)
	}
	notice, back, err := do(c, name)
	if err != nil {
		return s.orgPage(c, err)
	}
	return c.done(cmp.Or(back, "/u/"+url.PathEscape(name)+"/settings"), notice)
}
