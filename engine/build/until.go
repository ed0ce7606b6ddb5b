package build

import "time"

// until is the time that no file which a step makes is newer than: that of the newest file which it stands on, in layers or
// elsewhere, or what was asked for, when that is earlier. It hangs on nothing but what is in the step's key, so that a step gives
// the same bytes whenever it runs.
func (j dater) until(in []outcome, newest time.Time) (time.Time, error) {
	for _, o := range in {
		if o.top == "" {
			continue
		}
		at, err := j.b.Layers.Newest(o.top)
		if err != nil {
			return at, err
		}
		if at.After(newest) {
			newest = at
		}
	}
	asked, ok, err := j.asked()
	if err != nil || ok && (newest.IsZero() || asked.Before(newest)) {
		return asked, err
	}
	if newest.IsZero() {
		newest = time.Unix(0, 0)
	}
	return newest.UTC(), nil
}

// bounded puts the time that was asked for into the key of a step whose files it changes.
func (j dater) bounded(k *key, in []outcome) error {
	asked, ok, err := j.asked()
	if err != nil || !ok {
		return err
	}
	changes, any := false, false
	for _, o := range in {
		changes, any = changes || o.tree != nil, any || o.top != ""
	}
	if !changes && any {
		at, err := j.until(in, time.Time{})
		if err != nil {
			return err
		}
		changes = asked.Before(at)
	}
	if changes || !any {
		k.addf("SOURCE_DATE_EPOCH", "%d", asked.Unix())
	}
	return nil
}
