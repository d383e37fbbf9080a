package redisbus

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/lock.lua
	lockSource string
	//go:embed lua/unlock.lua
	unlockSource string

	lockScript   = redis.NewScript(lockSource)
	unlockScript = redis.NewScript(unlockSource)
)

// TryLock takes or renews a lock. An error leaves open whether owner holds it.
func (b *Bus) TryLock(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	if ttl <= 0 {
		return false, fmt.Errorf("lock %q: a time to live of %v is not above 0", key, ttl)
	}
	return call(ctx, b, "lock "+key, func(ctx context.Context) (bool, error) {
		return lockScript.Run(ctx, b.client, []string{key}, owner, max(ttl.Milliseconds(), 1)).Bool()
	})
}

// Unlock releases a lock that owner holds.
func (b *Bus) Unlock(ctx context.Context, key, owner string) error {
	_, err := call(ctx, b, "unlock "+key, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, unlockScript.Run(ctx, b.client, []string{key}, owner).Err()
	})
	return err
}
