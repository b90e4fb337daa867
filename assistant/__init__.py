"""Tools for an AI assistant (AI 助手): an MCP server that reads data, log and metrics."""
