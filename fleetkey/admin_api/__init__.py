"""The admin API, `/api/v1`: a thin layer over `fleetkey.management`, protected by bearer tokens with roles."""

from fleetkey.admin_api.router import build_api, build_api_pools

__all__ = ["build_api", "build_api_pools"]
