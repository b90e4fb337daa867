-- wrk script: GET one path and print one JSON line. Arguments: the expected status, and the ETag
-- that a browser already has, or "".

local threads = {}

function setup(thread) table.insert(threads, thread) end

function init(args)
  expected, bad = tonumber(args[1]), 0
  if args[2] ~= "" then wrk.headers["If-None-Match"] = args[2] end
end

function response(status, headers, body)
  if status ~= expected then
    bad = bad + 1
    if bad == 1 then io.stderr:write(status .. " " .. body .. "\n") end
  end
end

function done(summary, latency, requests)
  local bad = 0
  for _, thread in ipairs(threads) do bad = bad + thread:get("bad") end
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('\n{"per_second": %f, "p99_ms": %f, "bad": %d}\n',
    summary.requests / summary.duration * 1e6, latency:percentile(99) / 1000, bad + broken))
end
