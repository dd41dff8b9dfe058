package redisconn

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts by it; nothing rests on its strength
	"encoding/hex"
	"io/fs"
	"strings"

	"github.com/redis/rueidis"
)

// Script is a Lua script that Redis runs as one atomic step. Its keys lie in one slot of a cluster.
type Script struct{ text, sum string }

// Load makes a script of embedded files, scripts/NAME.lua each, one after the other. It panics where one is missing.
func Load(files fs.FS, names ...string) *Script {
	var text strings.Builder
	for _, name := range names {
		part, err := fs.ReadFile(files, "scripts/"+name+".lua")
		if err != nil {
			panic("redisconn: " + err.Error())
		}
		text.Write(part)
	}
	sum := sha1.Sum([]byte(text.String())) //nolint:gosec // see above
	return &Script{text: text.String(), sum: hex.EncodeToString(sum[:])}
}

// Call is a script with its keys and arguments.
type Call struct {
	Script *Script
	Keys   []string
	Args   []string
}

// Run runs calls in one round trip, in order where they lie on one server. Scripts that Redis does not know yet, as after a
// restart, take a second one.
func Run(ctx context.Context, client rueidis.Client, calls ...Call) []rueidis.RedisResult {
	commands := make(rueidis.Commands, len(calls))
	for i, call := range calls {
		commands[i] = client.B().Evalsha().Sha1(call.Script.sum).Numkeys(int64(len(call.Keys))).Key(call.Keys...).Arg(call.Args...).Build()
	}
	results := client.DoMulti(ctx, commands...)
	for i, call := range calls {
		if err, ok := rueidis.IsRedisErr(results[i].Error()); ok && err.IsNoScript() {
			results[i] = client.Do(ctx,
				client.B().Eval().Script(call.Script.text).Numkeys(int64(len(call.Keys))).Key(call.Keys...).Arg(call.Args...).Build())
		}
	}
	return results
}

// Run runs the script.
func (s *Script) Run(ctx context.Context, client rueidis.Client, keys, args []string) rueidis.RedisResult {
	return Run(ctx, client, Call{Script: s, Keys: keys, Args: args})[0]
}
