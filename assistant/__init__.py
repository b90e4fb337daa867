"""Tools for an AI assistant (AI 助手): an MCP server over data, log and metrics."""
