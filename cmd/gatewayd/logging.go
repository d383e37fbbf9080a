package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
)

// logger reads --log-level and --log-format. usual is the level where none is
// given.
func (s *settings) logger(w io.Writer, usual slog.Level) *slog.Logger {
	level, format := s.variables["MSG_LOG_LEVEL"], s.variables["MSG_LOG_FORMAT"]
	lowest := usual
	switch level {
	case "":
	case "debug", "info", "warn", "error":
		_ = lowest.UnmarshalText([]byte(level)) // it knows these
	default:
		s.add("MSG_LOG_LEVEL", fmt.Sprintf("%q is none of debug, info, warn and error", level))
	}
	options := &slog.HandlerOptions{Level: lowest}
	switch format {
	case "", "json":
		return slog.New(slog.NewJSONHandler(w, options))
	case "text":
		return slog.New(slog.NewTextHandler(w, options))
	default:
		s.add("MSG_LOG_FORMAT", fmt.Sprintf("%q is neither json nor text", format))
		return slog.New(slog.DiscardHandler)
	}
}

// redirectLogs brings the lines that libraries write to loggers of the process
// into log. It concerns the whole process, so only main asks for it.
func redirectLogs(log *slog.Logger) {
	redis.SetLogger(redisLog{log})
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("telemetry", "error", err)
	}))
}

// redisLog takes what go-redis says about connections, which it retries by
// itself.
type redisLog struct{ log *slog.Logger }

func (r redisLog) Printf(ctx context.Context, format string, args ...any) {
	r.log.DebugContext(ctx, "go-redis", "text", fmt.Sprintf(format, args...))
}
