-- wrk script: POST the lines of a file, each once, or again and again with "repeat", and print one
-- JSON line. Arguments: file, API key, "once" or "repeat", the expected code.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  bodies, position, bad = {}, 0, 0
  expected = '"code":"' .. args[4] .. '"'
  again = args[3] == "repeat"
  local index = 0
  for line in io.lines(args[1]) do
    if again or index % 2 == number then bodies[#bodies + 1] = line end
    index = index + 1
  end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. args[2]
end

function request()
  position = position + 1
  if position > #bodies then
    if again then position = 1 else wrk.thread:stop() ; position = #bodies end
  end
  return wrk.format(nil, nil, nil, bodies[position])
end

function response(status, headers, body)
  if status ~= 200 or not body:find(expected, 1, true) then
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
