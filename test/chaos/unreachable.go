package main

import (
	"context"
	"errors"
	"time"
)

// unreachable makes links vanish: connections end, and whoever dials is not even
// refused, as behind a firewall that drops what it does not like, or with a
// machine that has lost its power.
func unreachable(service, process string, d time.Duration) fault {
	name := network("unreachable", service, process, 0).name
	return fault{name, d, func(ctx context.Context, r *run) (string, error) {
		proxies := r.links.of(service, process)
		cut(proxies)
		var holes []*hole
		var failed error
		for _, p := range proxies {
			h, err := dig(p.Listen)
			if err != nil {
				failed = err
				break
			}
			holes = append(holes, h)
		}
		var notRun *notRunError
		if failed == nil {
			failed = sleep(ctx, d)
		}
		for _, h := range holes {
			h.close()
		}
		if err := mend(proxies); err != nil || errors.As(failed, &notRun) {
			return "", errors.Join(failed, err)
		}
		return seconds(d), failed
	}}
}
