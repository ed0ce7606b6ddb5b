package web

import (
	"strings"

	"lighter/page"
)

type loginData struct{ Name, Next string }

func (s *Site) loginForm(c *call) error {
	next := page.Local(c.field("next"))
	if !c.who.Anonymous() {
		return c.redirect(next)
	}
	return c.show("login", view{Title: "Log in", Data: loginData{Next: next}})
}

func (s *Site) login(c *call) error {
	name, next := strings.TrimSpace(c.field("name")), page.Local(c.field("next"))
	a := s.cfg.Accounts
	who, err := a.LogIn(c.r.Context(), name, c.r.PostForm.Get("password"), a.From(c.r))
	if err == nil {
		err = a.Sessions.Start(c.w, c.r, who)
	}
	if err != nil {
		return c.again("login", view{Title: "Log in", Data: loginData{page.Clip(name, 64), next}}, err)
	}
	return c.redirect(next)
}

func (s *Site) logout(c *call) error {
	if err := s.cfg.Accounts.Sessions.End(c.w, c.r); err != nil {
		return err
	}
	return c.done("/", "out")
}

type signupData struct{ Name, Host string }

func (s *Site) signupForm(c *call) error {
	switch {
	case s.cfg.Closed:
		return &refusalClosed
	case !c.who.Anonymous():
		return c.redirect("/")
	}
	return c.show("signup", view{Title: "Sign up", Data: signupData{Host: s.host(c.r)}})
}

func (s *Site) signup(c *call) error {
	if s.cfg.Closed {
		return &refusalClosed
	}
	a := s.cfg.Accounts
	name, password := strings.TrimSpace(c.field("name")), c.r.PostForm.Get("password")
	err := bad("the two passwords are not the same")
	if password == c.r.PostForm.Get("again") {
		var made = c.who
		if made, err = a.Users.Register(c.r.Context(), name, "", password, a.From(c.r)); err == nil {
			err = a.Sessions.Start(c.w, c.r, made)
		}
	}
	if err != nil {
		return c.again("signup", view{Title: "Sign up", Data: signupData{page.Clip(name, 64), s.host(c.r)}}, err)
	}
	return c.done("/", "welcome")
}
