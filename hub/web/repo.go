package web

import (
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"lighter/hub/account"
	"lighter/hub/meta"
)

// repoView is a repository, with what who asks may do with it.
type repoView struct {
	account.Repo
	Parent, Base                               string
	Tags                                       int
	MayDescribe, MaySettle, MayDelete, MayPush bool
}

// repoPage is what each page of a repository begins with.
type repoPage struct {
	Top  view // for the star's form
	Tab  string
	Repo repoView
}

// repoCall is a request for something of a repository.
type repoCall struct {
	*call
	repoPage
	rest []string // the parts of the path behind "/-/" and the verb
}

// repoPages are a repository's pages and forms, by what stands behind "/-/".
var repoPages = map[string]func(*repoCall) error{
	"GET ": (*repoCall).overview, "GET tags": (*repoCall).tagList, "GET tag": (*repoCall).tag, "GET compare": (*repoCall).compare,
	"GET settings": (*repoCall).settings, "GET delete-tag": (*repoCall).askDeleteTag,
	"POST star": (*repoCall).star, "POST describe": (*repoCall).describe, "POST visibility": (*repoCall).visibility,
	"POST delete": (*repoCall).remove, "POST delete-tag": (*repoCall).deleteTag,
}

// repo finds the repository of a path and does what the path asks for.
func (s *Site) repo(c *call) error {
	name, what, _ := strings.Cut(c.r.PathValue("path"), "/-/")
	verb, rest, _ := strings.Cut(what, "/")
	do := repoPages[strings.Replace(c.r.Method, "HEAD", "GET", 1)+" "+verb]
	if do == nil || strings.Contains(c.r.PathValue("path"), "\x00") {
		return notThere
	}
	repo, err := s.cfg.Accounts.Repos.Get(c.r.Context(), c.who, strings.ToValidUTF8(name, "?"))
	if err != nil {
		return err
	}
	v := repoView{Repo: repo, Base: repo.Name}
	if i := strings.IndexByte(repo.Name, '/'); i > 0 {
		v.Parent, v.Base = repo.Name[:i], repo.Name[i+1:]
	}
	may := func(action string) bool { return account.May(repo.Role, repo.Public, action) }
	v.MayDescribe, v.MaySettle, v.MayDelete, v.MayPush = may(account.Describe), may(account.Settings), may(account.Delete), may(account.Push)
	if v.Tags, err = s.countTags(c.r.Context(), repo.ID, ""); err != nil {
		return err
	}
	rc := &repoCall{call: c, repoPage: repoPage{Top: view{User: c.who.User, CSRF: c.csrf}, Tab: verb, Repo: v}}
	if rest != "" {
		rc.rest = strings.Split(rest, "/")
	}
	return do(rc)
}

// path is the address of something of the repository.
func (c *repoCall) path(what string) string {
	p := string(repoURL(c.Repo.Name))
	if what != "" {
		p += "/-/" + what
	}
	return p
}

func (c *repoCall) overview() error {
	c.Tab = "overview"
	tags, err := c.s.tags(c.r.Context(), c.Repo.ID, "", 8, 0)
	if err != nil {
		return err
	}
	tag := "latest"
	if len(tags) > 0 {
		tag = tags[0].Name
		for _, t := range tags {
			if t.Name == "latest" {
				tag = t.Name
			}
		}
	}
	return c.show("repo", view{Title: c.Repo.Name, Data: struct {
		repoPage
		Readme template.HTML
		Pull   string
		Tags   []tagRow
	}{c.repoPage, c.s.readme(c.Repo.Readme), "lighter pull " + c.s.image(c.r, c.Repo.Name, tag), tags}})
}

func (c *repoCall) tagList() error {
	const each = 25
	find, now := strings.TrimSpace(c.field("q")), c.number("page")
	total, err := c.s.countTags(c.r.Context(), c.Repo.ID, find)
	if err != nil {
		return err
	}
	tags, err := c.s.tags(c.r.Context(), c.Repo.ID, find, each, (now-1)*each)
	if err != nil {
		return err
	}
	return c.show("tags", view{Title: "Tags of " + c.Repo.Name, Data: struct {
		repoPage
		Find, Push string
		Tags       []tagRow
		Pages      pager
	}{c.repoPage, find, "lighter push " + c.s.image(c.r, c.Repo.Name, "latest"), tags, c.pages(now, total, each)}})
}

func (c *repoCall) star() error {
	if err := c.user(); err != nil {
		return err
	}
	if err := c.s.cfg.Accounts.Repos.Star(c.r.Context(), c.who, c.Repo.Name, c.field("on") == "1"); err != nil {
		return err
	}
	return c.redirect(c.path(""))
}

// may refuses what the page would not have offered.
func (c *repoCall) may(ok bool) error {
	switch {
	case ok:
		return nil
	case c.who.Anonymous():
		return errLogInFirst
	}
	return &meta.Refusal{Status: http.StatusForbidden, Message: "You may not do that in " + c.Repo.Name + "."}
}

func (c *repoCall) settings() error {
	return c.settingsPage(c.Repo.Description, c.Repo.Readme, nil)
}

func (c *repoCall) settingsPage(description, readme string, wrong error) error {
	if err := c.may(c.Repo.MayDescribe || c.Repo.MaySettle); err != nil {
		return err
	}
	c.Tab, c.Repo.Description = "settings", description
	p := view{Title: "Settings of " + c.Repo.Name, Data: struct {
		repoPage
		Source string
	}{c.repoPage, readme}}
	if wrong != nil {
		return c.again("reposettings", p, wrong)
	}
	return c.show("reposettings", p)
}

func (c *repoCall) describe() error {
	description, readme := c.field("description"), strings.ReplaceAll(c.field("readme"), "\r\n", "\n")
	if err := c.s.cfg.Accounts.Repos.Describe(c.r.Context(), c.who, c.Repo.Name, description, readme); err != nil {
		return c.settingsPage(description, readme, err)
	}
	return c.done(c.path("settings"), "saved")
}

func (c *repoCall) visibility() error {
	choice := c.field("public")
	if choice != "0" && choice != "1" {
		return c.settingsPage(c.Repo.Description, c.Repo.Readme, bad("choose public or private"))
	}
	if err := c.s.cfg.Accounts.Repos.SetPublic(c.r.Context(), c.who, c.Repo.Name, choice == "1"); err != nil {
		return err
	}
	return c.done(c.path("settings"), "saved")
}

func (c *repoCall) remove() error {
	if err := c.may(c.Repo.MaySettle); err != nil {
		return err
	}
	if strings.TrimSpace(c.field("confirm")) != c.Repo.Name {
		return c.settingsPage(c.Repo.Description, c.Repo.Readme, bad("to delete the repository, type its name %s", c.Repo.Name))
	}
	if err := c.s.cfg.Accounts.Repos.Remove(c.r.Context(), c.who, c.Repo.Name); err != nil {
		return err
	}
	return c.done("/u/"+url.PathEscape(c.who.User), "deleted")
}

func (c *repoCall) askDeleteTag() error {
	if err := c.may(c.Repo.MayDelete); err != nil {
		return err
	}
	tag := c.field("tag")
	if _, err := c.s.resolve(c.r.Context(), c.Repo.ID, tag); err != nil {
		return err
	}
	type pair struct{ Name, Value string }
	return c.show("confirm", view{Title: "Delete " + tag, Data: struct {
		Question, Text, Action, Do, Back string
		Keep                             []pair
	}{"Delete the tag " + tag + "?", "Nobody can pull " + c.Repo.Name + ":" + tag + " any more. Other tags of the same image stay.",
		c.path("delete-tag"), "Delete the tag", c.path("tags"), []pair{{"tag", tag}}}})
}

func (c *repoCall) deleteTag() error {
	ctx, tag := c.r.Context(), strings.ToValidUTF8(c.field("tag"), "?")
	if err := c.s.cfg.Accounts.Repos.May(ctx, c.who, c.Repo.Name, account.Delete); err != nil {
		return err
	}
	n, err := c.s.cfg.DB.Exec(ctx, `DELETE FROM tags WHERE repo = ? AND name = ?`, c.Repo.ID, tag)
	if err != nil {
		return err
	}
	if n == 0 {
		return notThere
	}
	if err := c.s.cfg.Accounts.Audit.Note(ctx, c.who, c.Repo.Owner, "tag.remove", c.Repo.Name+":"+tag); err != nil {
		return err
	}
	return c.done(c.path("tags"), "deleted")
}
