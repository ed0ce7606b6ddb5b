package account

import "testing"

// Names that another registry has are not to be had: who took one would take the place of
// what others pull by it.
func TestMirrorNames(t *testing.T) {
	a := open(t, Options{Mirrors: []string{"far"}})
	users(t, a, "anna")
	_, err := a.Users.Register(t.Context(), "Far", "", "a long password", "192.0.2.1")
	refused(t, err, 409)
	refused(t, a.Orgs.Create(t.Context(), me("anna"), "far", "", ""), 409)
	refused(t, a.Users.Add(t.Context(), Shell(), "far", pass), 409)
	_, err = a.Users.Register(t.Context(), "ben", "", "a long password", "192.0.2.1")
	must(t, err)

	a, err = New(t.Context(), a.db, Options{Mirrors: []string{""}, Cost: cheap})
	must(t, err)
	_, err = a.Users.Register(t.Context(), "bitnami", "", "a long password", "192.0.2.1")
	refused(t, err, 403)
	refused(t, a.Orgs.Create(t.Context(), me("anna"), "bitnami", "", ""), 403)
	users(t, a, "carl") // the operator's to give
	for repo, want := range map[string]bool{"alpine": true, "bitnami/nginx": true, "anna/app": false, "carl/x": false, "far/x": true} {
		below, ok, err := a.Repos.Mirrored(t.Context(), repo)
		if err != nil || ok != want || below != "" {
			t.Errorf("%s: %q, %v, %v", repo, below, ok, err)
		}
		if err := a.Repos.May(t.Context(), Identity{}, repo, Pull); (err == nil) != want {
			t.Errorf("nobody pulls from %s: %v", repo, err)
		}
		if repo != "anna/app" {
			refused(t, a.Repos.May(t.Context(), me("anna"), repo, Push), 403)
		}
	}
	must(t, a.Orgs.Create(t.Context(), Shell(), "library", "", "anna")) // now `alpine` is theirs
	if _, ok, err := a.Repos.Mirrored(t.Context(), "alpine"); ok || err != nil {
		t.Error(ok, err)
	}
}

// What is mirrored is shown to whom it is to be shown from the next start on.
func TestMirrorPrivate(t *testing.T) {
	a := open(t, Options{Mirrors: []string{"far"}})
	users(t, a, "anna")
	must(t, a.Repos.AddMirrored(t.Context(), "far/app", 1))
	_, err := a.db.Exec(t.Context(), `INSERT INTO mirrored (repo, ref, checked, used) SELECT id, 'v', 1, 1 FROM repositories WHERE name = 'far/app'`)
	must(t, err)
	for _, private := range []bool{false, true, false} {
		b, err := New(t.Context(), a.db, Options{Mirrors: []string{"far"}, MirrorPrivate: private, Cost: cheap})
		must(t, err)
		if err := b.Repos.May(t.Context(), Identity{}, "far/app", Pull); (err != nil) != private {
			t.Errorf("private %v: nobody pulls: %v", private, err)
		}
		must(t, b.Repos.May(t.Context(), me("anna"), "far/app", Pull))
		if list, err := b.Repos.List(t.Context(), Identity{}, ""); err != nil || (len(list) == 0) != private {
			t.Errorf("private %v: nobody sees %v, %v", private, list, err)
		}
	}
}
